from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "napari_wsss" / "napari.yaml"


def test_the_root_manifest_is_the_packages() -> None:
    assert (ROOT / "napari.yaml").read_text() == MANIFEST.read_text()


def test_npe2_finds_and_accepts_it() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_distribution("napari-wsss")
    assert manifest.display_name == "WSSS pathology"
    manifest.validate_imports()


def test_every_command_exists_and_every_contribution_has_one() -> None:
    contributions = yaml.safe_load(MANIFEST.read_text())["contributions"]
    commands = {command["id"] for command in contributions["commands"]}
    for command in contributions["commands"]:
        module, _, name = command["python_name"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    used = {
        entry["command"]
        for kind in ("readers", "writers", "widgets", "sample_data")
        for entry in contributions.get(kind, [])
    }
    assert used == commands


def test_napari_offers_us_every_format_of_slides() -> None:
    """What folder scans find by its suffix, napari hands to our reader; czi waits for an OpenSlide that reads it.

    What we only find to say that it is not read is left to plugins that read it.
    """
    from tiling.slides.open import _UNREAD, slide_suffixes

    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    patterns = {p for reader in manifest["contributions"]["readers"] for p in reader["filename_patterns"]}
    assert {f"*{suffix}" for suffix in slide_suffixes() - set(_UNREAD)} - patterns <= {"*.czi"}
