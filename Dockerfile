# The command line on a processor, for servers (the plugin needs a display and is not in it):
#
#   docker build -t napari-wsss .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" napari-wsss demo --out demo
#   docker run --rm --user "$(id -u):$(id -g)" -v /slides:/slides:ro -v "$PWD:/data" napari-wsss run /slides --out night
#
# Exact versions are those of constraints.txt; torch comes from PyTorch's own index, without gigabytes of CUDA.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE napari.yaml constraints.txt ./
COPY napari_wsss napari_wsss
COPY tiling tiling
COPY training training
RUN python -m venv /opt/wsss \
    && /opt/wsss/bin/pip install --no-cache-dir --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu ".[cluster]"

FROM python:3.11-slim
COPY --from=build /opt/wsss /opt/wsss
# Whoever runs it may have no name and no home; what is measured of a model is kept where it can be written.
ENV PATH=/opt/wsss/bin:$PATH XDG_CACHE_HOME=/tmp
WORKDIR /data
ENTRYPOINT ["wsss-tile"]
CMD ["--help"]
