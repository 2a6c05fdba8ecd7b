"""The card of a model bundle: what a pathologist should know before trusting it, as a little HTML."""

from __future__ import annotations

from html import escape

from napari_wsss.models import Bundle, scores_text

__all__ = ["bundle_card"]


def bundle_card(bundle: Bundle | None, problem: str = "") -> str:
    """Return the card as HTML for a label.

    Parameters
    ----------
    bundle : Bundle or None
    problem : str
        Shown instead when there is no bundle.
    """
    if bundle is None:
        return f"<i>{escape(problem) or 'No model.'}</i>"
    swatches = " ".join(
        f'<span style="color:{tissue.color}">■</span>&nbsp;{escape(tissue.name)}'
        for tissue in bundle.schema.classes
    )
    networks = " → ".join(spec.architecture for spec in (bundle.stage1, bundle.stage2) if spec is not None)
    rows = [
        ("Classes", swatches),
        ("Sees", f"tiles of {bundle.tile} px at {bundle.mpp:g} µm/px ({bundle.tile * bundle.mpp:.0f} µm)"),
        ("Networks", escape(networks)),
        ("Trained on", escape(bundle.training_data)),
        ("Scores", escape(scores_text(bundle.metrics)).replace("\n", "<br>")),
        ("Licence", escape(bundle.licence)),
    ]
    table = "".join(f"<tr><td><b>{name}</b>&nbsp;</td><td>{text}</td></tr>" for name, text in rows if text)
    return f"<p>{escape(bundle.description)}</p><table>{table}</table>"
