# The commands of the README. Each makes .venv on first use and installs what it needs; later calls start at once.
#
#   make PYTHON=/path/to/python3.12 …   another interpreter (3.11 or newer)
#   make test ARGS="-k store"           arguments for pytest
#   make test WORKERS=1 ARGS=--pdb      in one process, where a debugger can be
#   make demo TORCH_INDEX=URL           another package index for torch alone, such as PyTorch's own CPU builds

VENV   := .venv
RUN    := $(VENV)/bin/python
STAMPS := $(VENV)/stamps
OUT    ?= wsss-demo
ARGS   ?=
WORKERS ?= 2
BENCH  ?=
CRC    ?= ../shared/crc

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# An environment whose interpreter has gone counts as none.
ifneq ($(shell $(RUN) -c pass 2>/dev/null && echo works),works)
$(shell rm -rf $(STAMPS))
endif

.PHONY: help demo test fuzz lint format docs bench synthetic-demo crc-demo ci-tools constraints clean
help:
	@echo "make demo    segment a synthetic slide with the embedded model and score it ($(OUT)/)"
	@echo "make test    run the whole test suite"
	@echo "make fuzz    2,000 damaged or lying files, a table of what became of them (ARGS=\"--cases 200 --seed 7\")"
	@echo "make lint    ruff and mypy"
	@echo "make format  rewrite the sources in ruff's format"
	@echo "make docs    build the documentation (site/index.html): notebooks run, warnings are errors, links checked"
	@echo "make bench   measure speed and memory, one table (BENCH=\"engine cam\": only these)"
	@echo "make synthetic-demo    train the embedded model of the synthetic slides anew"
	@echo "make crc-demo CRC=DIR  train the embedded model of real tissue anew from its 70 patches"

# --- what is installed -----------------------------------------------------------------------------------------------

INPUTS := pyproject.toml constraints.txt
PIP    := $(RUN) -m pip install -qq --constraint constraints.txt
ALL    := .[napari,train,openvino,onnx,cluster,geopandas]

$(STAMPS)/venv:
	@PYTHON="$(PYTHON)" scripts/make_venv.sh $(VENV)
	@mkdir -p $(STAMPS)
	@echo "installing into $(VENV) (a few minutes, once)"
	@$(PIP) --upgrade pip
	@touch $@

# torch first: the index may differ, and a failed download of it should not cost the rest.
$(STAMPS)/torch: $(STAMPS)/venv constraints.txt
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@touch $@

$(STAMPS)/base: $(STAMPS)/torch $(INPUTS)
	@$(PIP) --editable .
	@touch $@

$(STAMPS)/test: $(STAMPS)/torch $(INPUTS)
	@$(PIP) --group test --editable "$(ALL)"
	@touch $@ $(STAMPS)/base

$(STAMPS)/lint: $(STAMPS)/test
	@$(PIP) --group lint
	@touch $@

$(STAMPS)/docs: $(STAMPS)/test
	@$(PIP) --group docs
	@touch $@

$(STAMPS)/gui: .ci/gui-packages.txt | $(STAMPS)/venv
	@scripts/gui_packages.sh $<
	@touch $@

# --- the commands ----------------------------------------------------------------------------------------------------

demo: $(STAMPS)/base
	$(VENV)/bin/wsss-tile demo --out $(OUT)

# Two processes of one thread each: the small networks of the tests gain nothing from more threads.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMPS)/test $(STAMPS)/gui
	$(RUN) -m pytest $(if $(filter-out 0 1,$(WORKERS)),--numprocesses $(WORKERS) --dist worksteal) $(ARGS)

lint: $(STAMPS)/lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(STAMPS)/lint
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(STAMPS)/docs
	$(RUN) -m mkdocs build --strict
	$(RUN) scripts/check_links.py site

fuzz: export OMP_NUM_THREADS ?= 1
fuzz: $(STAMPS)/test
	PYTHONPATH=tests/support $(RUN) tests/fuzz/fuzz.py $(ARGS)

bench: export OMP_NUM_THREADS ?= 2
bench: $(STAMPS)/test $(STAMPS)/gui
	$(RUN) benchmarks/bench.py $(if $(BENCH),--only $(BENCH))

synthetic-demo: $(STAMPS)/test
	$(RUN) -m training.synthetic_demo

crc-demo: $(STAMPS)/test
	$(RUN) -m training.crc_demo --dataroot $(CRC)

ci-tools: $(STAMPS)/lint $(STAMPS)/docs $(STAMPS)/gui

# Resolve everything anew, but for torch, whose pin is changed by hand.
constraints:
	@rm -rf build/venv && mkdir -p build && PYTHON="$(PYTHON)" scripts/make_venv.sh build/venv
	build/venv/bin/python -m pip install -qq --upgrade pip
	build/venv/bin/python -m pip install -qq $$(grep ^torch== constraints.txt)
	build/venv/bin/python -m pip install -qq --group test --group lint --group docs --editable "$(ALL)"
	@{ grep '^#' constraints.txt; build/venv/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > build/new
	@mv build/new constraints.txt && rm -rf build/venv

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
