"""Backends: what runs the networks of a bundle, torch or OpenVINO, behind one small interface."""

from __future__ import annotations
