"""Planning a batch: what becomes a slide, in which order, under which id, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, strategies as st
from wsss_dicom import write_dicom

from tiling.batch.jobs import Shard, SlideJob, find_jobs
from tiling.errors import JobError, SlideError
from tiling.folders import LABELS_MARK
from tiling.slides import open_slide


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ids(jobs: list[SlideJob]) -> list[str]:
    return [job.slide_id for job in jobs]


def test_files_keep_their_order_and_get_their_stem_as_id(tmp_path: Path) -> None:
    make(tmp_path, "b.svs", "a.ome.tif", "c.png")
    jobs = find_jobs([tmp_path / name for name in ("b.svs", "a.ome.tif", "c.png")])
    assert ids(jobs) == ["b", "a.ome", "c"]
    assert all(job.path.is_absolute() and job.mpp is None for job in jobs)


def test_a_missing_file_stays_a_job_that_can_fail_by_name(tmp_path: Path) -> None:
    assert find_jobs([tmp_path / "gone.svs"]) == [SlideJob("gone", tmp_path / "gone.svs")]


def test_a_folder_is_searched_in_depth_for_slides_only(tmp_path: Path) -> None:
    make(tmp_path, "b.SVS", "a.ndpi", "deep/er/c.mrxs", "thumb.jpg", "notes.txt", "._b.SVS", ".hidden/x.svs")
    assert ids(find_jobs([tmp_path])) == ["a", "b", "c"]


def test_mrxs_companions_are_not_slides(tmp_path: Path) -> None:
    make(tmp_path, "a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "a/preview.tif")
    assert ids(find_jobs([tmp_path])) == ["a"]
    assert ids(find_jobs([tmp_path / "a.mrxs", tmp_path / "a"])) == ["a"]  # a shell's slides/*
    (tmp_path / "a" / "preview.tif").unlink()
    with pytest.raises(JobError, match=r"belongs to a\.mrxs"):
        find_jobs([tmp_path / "a"])


def test_a_dicom_folder_is_one_slide_however_it_is_named(tmp_path: Path) -> None:
    make(tmp_path, "case.1/1.dcm", "case.1/2.dcm", "x.svs")
    folder = SlideJob("case.1", tmp_path / "case.1")
    assert find_jobs([tmp_path]) == [SlideJob("x", tmp_path / "x.svs"), folder]
    assert find_jobs([tmp_path / "case.1"]) == [folder]
    assert find_jobs([tmp_path / "case.1" / "1.dcm", tmp_path / "case.1" / "2.dcm"]) == [folder]
    assert find_jobs([str(tmp_path / "case.1" / "*.dcm")]) == [folder]
    assert ids(find_jobs([tmp_path / "case.1" / "1.dcm"])) == ["1"]


def test_ome_zarr_slides_are_found_and_our_own_stores_are_not(tmp_path: Path) -> None:
    make(tmp_path, "in.zarr/zarr.json", "in.zarr/0/c/0", "old.zarr/.zattrs", "ours.zarr/zarr.json")
    make(tmp_path, "ours.zarr/run.json")
    assert ids(find_jobs([tmp_path])) == ["in", "old"]
    assert ids(find_jobs([str(tmp_path / "*.zarr")])) == ["in", "old"]


def test_the_output_folder_is_not_searched(tmp_path: Path) -> None:
    make(tmp_path, "a.svs", "out/a.labels.ome.tif")
    assert ids(find_jobs([tmp_path], exclude=[tmp_path / "out"])) == ["a"]


def test_globs(tmp_path: Path) -> None:
    make(tmp_path, "b.svs", "a.svs", "deep/c.svs", "deep/c.txt", "pic.png", "a[1].svs")
    assert ids(find_jobs([str(tmp_path / "?.svs")])) == ["a", "b"]
    assert ids(find_jobs([str(tmp_path / "**" / "*.svs")])) == ["a", "a[1]", "b", "c"]
    assert ids(find_jobs([str(tmp_path / "deep" / "*")])) == ["c"]
    assert ids(find_jobs([str(tmp_path / "*.png")])) == ["pic"]
    assert ids(find_jobs([tmp_path / "a[1].svs"])) == ["a[1]"]  # an existing file is no pattern
    with pytest.raises(JobError, match=r"No slide matches .*\.ndpi"):
        find_jobs([str(tmp_path / "*.ndpi")])


def test_an_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, "only.png")
    with pytest.raises(JobError, match="holds no slide"):
        find_jobs([tmp_path])


def test_links_that_go_round_end(tmp_path: Path) -> None:
    make(tmp_path, "a.svs")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert ids(find_jobs([tmp_path])) == ["a"]


def test_one_slide_named_twice_is_one_job(tmp_path: Path) -> None:
    make(tmp_path, "a.svs")
    assert len(find_jobs([tmp_path / "a.svs", tmp_path, str(tmp_path / "*.svs")])) == 1


@pytest.mark.parametrize("second", ["y/a.svs", "y/a.tif", "y/A.svs"])
def test_equal_ids_are_refused_with_both_paths(tmp_path: Path, second: str) -> None:
    make(tmp_path, "x/a.svs", second)
    with pytest.raises(JobError) as caught:
        find_jobs([tmp_path])
    assert str(tmp_path / "x/a.svs") in str(caught.value)
    assert str(tmp_path / second) in str(caught.value)


def test_a_manifest_names_ids_and_mpp_and_starts_at_its_own_folder(tmp_path: Path) -> None:
    make(tmp_path, "x/a.svs", "y/a.svs")
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        f"slide_id,path,mpp,stain\none,x/a.svs,0.25,HE\ntwo,{tmp_path / 'y/a.svs'},,HE\nthree,gone.svs,,\n",
        "utf-8-sig",
    )
    assert find_jobs([manifest]) == [
        SlideJob("one", tmp_path / "x/a.svs", 0.25),
        SlideJob("two", tmp_path / "y/a.svs"),
        SlideJob("three", tmp_path / "gone.svs"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,path\na,b.svs\n", "has no column slide_id"),
        ("slide_id,path\n", "names no slide"),
        ("", "has no column path and slide_id"),
        ("slide_id,path\n../a,b.svs\n", "line 2: slide_id '../a'"),
        ("slide_id,path\n,b.svs\n", "line 2: slide_id ''"),
        ("slide_id,path\na,\n", "line 2: the path is empty"),
        ("slide_id,path,mpp\na,b.svs,40x\n", "line 2: mpp '40x'"),
        ("slide_id,path,mpp\na,b.svs,0\n", "line 2: mpp '0'"),
        ("slide_id,path,mpp\na,b.svs,nan\n", "line 2: mpp 'nan'"),
        ("slide_id,path\na,b.svs\na,c.svs\n", "would both be written as a.zarr"),
        ("slide_id,path,mpp\na,b.svs,1\na,b.svs,2\n", "named twice with different mpp"),
    ],
)
def test_a_malformed_manifest_is_one_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(text)
    with pytest.raises(JobError) as caught:
        find_jobs([manifest])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"slide_id,path\n\xff\xfe\n"])
def test_an_unreadable_manifest_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(JobError, match=r"Manifest .*list\.csv"):
        find_jobs([tmp_path / "list.csv"])


@given(total=st.integers(0, 50), count=st.integers(1, 12))
def test_shards_share_nothing_and_leave_nothing_out(total: int, count: int) -> None:
    jobs = [SlideJob(str(i), Path(str(i))) for i in range(total)]
    shards = [Shard(number, count).of(jobs) for number in range(1, count + 1)]
    assert sorted((job for shard in shards for job in shard), key=jobs.index) == jobs
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/", "a/b", "1/0", "-1/4", "1/2/3", ""])
def test_a_shard_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="K/N"):
        Shard.parse(text)


def test_shard_is_read_from_text() -> None:
    assert Shard.parse("2/4") == Shard(2, 4)


def test_dicom_is_grouped_by_series_whatever_lies_beside_it(tmp_path: Path) -> None:
    for i, series in enumerate(("1", "1", "2")):
        write_dicom(tmp_path / f"IM{i}", series=series)
        (tmp_path / "alone").mkdir(exist_ok=True)
        write_dicom(tmp_path / "alone" / f"{i}.dcm" if i < 2 else tmp_path / "u.dcm", series="7")
    write_dicom(tmp_path / "report.dcm", series="9", sop_class="1.2.840.10008.5.1.4.1.1.88.11")
    make(tmp_path, "other.svs", "notes")
    assert [(j.slide_id, j.path.name) for j in find_jobs([tmp_path])] == [
        ("IM0", "IM0"),
        ("IM2", "IM2"),
        ("other", "other.svs"),
        ("u", "u.dcm"),
        ("alone", "alone"),
    ]
    named = find_jobs(sorted(tmp_path.glob("IM*")))  # a shell's IM*
    assert ids(named) == ["IM0", "IM2"]
    assert ids(find_jobs([str(tmp_path / "IM*")])) == ["IM0", "IM2"]
    assert ids(find_jobs(sorted((tmp_path / "alone").iterdir()))) == ["alone"]


def test_files_named_by_uid_keep_their_whole_name(tmp_path: Path) -> None:
    for series in ("1", "2"):
        write_dicom(tmp_path / f"1.2.840.{series}", series=series)
    assert ids(find_jobs([tmp_path])) == ["1.2.840.1", "1.2.840.2"]


def test_rarer_suffixes_are_found(tmp_path: Path) -> None:
    make(tmp_path, "a.qptiff", "b.tf8", "c.BTF", "d.tf2", "e.jpg")
    assert ids(find_jobs([tmp_path])) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("suffix", [".vsi", ".ISYNTAX", ".lif", ".sdpc"])
def test_slides_of_scanners_that_are_not_read_fail_by_name(tmp_path: Path, suffix: str) -> None:
    """A night of 500 slides says which were not read; a VSI is a TIFF of a label and a thumbnail, no scan."""
    tifffile.imwrite(tmp_path / f"a{suffix}", np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    (job,) = find_jobs([tmp_path])
    with pytest.raises(SlideError, match="which is not read here; convert it to OME-TIFF"):
        open_slide(job.path)


def test_what_we_exported_is_no_slide(tmp_path: Path) -> None:
    make(tmp_path, "a.svs", "run1/a.zarr/zarr.json", "run1/a.zarr/run.json", "run1/a.overview.png")
    labels = np.zeros((64, 64), np.uint8)
    said = {"axes": "YX", "Description": f"{LABELS_MARK}. Research use only."}
    for name in ("run1/a.labels.ome.tif", "renamed.tif"):
        tifffile.imwrite(tmp_path / name, labels, metadata=said)
    assert ids(find_jobs([tmp_path])) == ["a"]
    assert ids(find_jobs([str(tmp_path / "**" / "*")])) == ["a"]
    with pytest.raises(SlideError, match="label image"):
        open_slide(tmp_path / "renamed.tif")


@pytest.mark.parametrize(
    "head",
    [
        "slide_id,path,mpp",
        "slide_id,path,MPP",
        " Slide_ID , PATH , mpp ",
        '"slide_id","path","mpp"',
        "sep=,\nslide_id,path,mpp",
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_manifests_as_spreadsheets_write_them(
    tmp_path: Path, head: str, separator: str, encoding: str
) -> None:
    manifest = tmp_path / "list.csv"
    text = head.replace(",", separator) + "\r\n\r\n# made by hand\r\n"
    text += separator.join(["a", f'"x{separator} y.svs"', "0.25"]) + "\r\n" + separator * 2 + "\r\n"
    manifest.write_bytes(text.encode(encoding))
    assert find_jobs([manifest]) == [SlideJob("a", tmp_path / f"x{separator} y.svs", 0.25)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("slide_id,path,mpp_x\na,b.svs,1\n", "'mpp_x', which looks like mpp"),
        ("slide_id,path,mpp (µm)\na,b.svs,1\n", "looks like mpp"),
        ("slide_id,path,Resolution\na,b.svs,1\n", "looks like mpp"),
        ("slide_id,path,mp\na,b.svs,1\n", "looks like mpp"),
        ("slide_id,path,\u00b5m/px\na,b.svs,1\n", "looks like mpp"),
        ("slide_id,path,\u03bcm per pixel\na,b.svs,1\n", "looks like mpp"),
        ("slide_id,path,nm_per_pixel\na,b.svs,1\n", "looks like mpp"),
        ("slide_id,path,Pixel width\na,b.svs,1\n", "looks like mpp"),
        ("slide_id,path,mpp\na,b.svs,0_5\n", "'0_5' is not"),
        ("slide_id,path,mpp\na,b.svs,500 nm\n", "'500 nm' is not"),
        ('slide_id,path\n"a\nb",c.svs\n', "cannot be a file name"),
        ("slide_id,path\na,b.svs\na,c.svs\n", "b.svs"),
        ("slide id,path\na,b.svs\n", "no column slide_id"),
        ("slide_id,path,paths\na,b.svs,c\n", "looks like path"),
        ("slide_id,path,path\na,b.svs,c.svs\n", "column path twice"),
        ("slide_id,path,MPP,mpp\na,b.svs,1,2\n", "column mpp twice"),
        ("slide_id,path\na,b,c.svs\n", "line 2: 3 fields"),
        ("# list\n\nslide_id,path\n\na,\n", "line 5: the path is empty"),
        ('slide_id,path\na,"b.svs\n', "quotation marks"),
        ("slide_id,path\na,b\0.svs\n", "zero bytes"),
        ("slide_id,path\na,~nobody-of-this-name/b.svs\n", "user who does not exist"),
        ("slide_id,path,mpp\na,b.svs,0,25\n", "4 fields"),
    ],
)
def test_a_slip_in_a_manifest_is_one_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(text)
    with pytest.raises(JobError) as caught:
        find_jobs([manifest])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_notes_may_have_lines_of_their_own(tmp_path: Path) -> None:
    text = 'slide_id,path,note\na,b.svs,"one\n# two, ""three""\n\nfour"\n# "five\nc,d.svs,\n'
    (tmp_path / "list.csv").write_text(text)
    assert [job.slide_id for job in find_jobs([tmp_path / "list.csv"])] == ["a", "c"]


def test_a_decimal_comma_is_clear_where_commas_do_not_separate(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("slide_id;path;mpp\na;b.svs;0,25\n")
    assert [job.mpp for job in find_jobs([tmp_path / "list.csv"])] == [0.25]


@given(st.text())
def test_any_text_is_a_manifest_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    manifest = tmp_path_factory.getbasetemp() / "any.csv"
    for candidate in (text, "slide_id,path,mpp\n" + text):
        manifest.write_text(candidate, "utf-8", "surrogatepass")
        with contextlib.suppress(JobError):
            assert find_jobs([manifest])


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without end")
def test_a_manifest_without_end_is_refused(tmp_path: Path) -> None:
    from tiling.batch.manifest import read_manifest

    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    with pytest.raises(JobError, match="not an ordinary file"):
        read_manifest(tmp_path / "zero.csv")
