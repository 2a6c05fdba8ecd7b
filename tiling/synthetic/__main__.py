"""``python -m tiling.synthetic``: write a synthetic slide, or a folder of weakly labelled patches."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tiling.errors import DataError
from tiling.synthetic.patches import paint_patches
from tiling.synthetic.slide import DEMO, SyntheticSlide
from tiling.synthetic.write import write_slide


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tiling.synthetic", description="Make H&E-like tissue with known truth."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    slide = commands.add_parser("slide", help="write a pyramidal TIFF", description="Write a pyramidal TIFF.")
    slide.add_argument("out", metavar="OUT.tif")
    slide.add_argument("--width", type=int, default=DEMO.width, help="level-0 pixels (default: %(default)s)")
    slide.add_argument(
        "--height", type=int, default=DEMO.height, help="level-0 pixels (default: %(default)s)"
    )
    slide.add_argument("--mpp", type=float, default=DEMO.mpp, help="µm per pixel (default: %(default)s)")
    slide.add_argument("--seed", type=int, default=DEMO.seed, help="names the tissue (default: %(default)s)")
    slide.add_argument("--truth", metavar="OUT.tif", help="also write the true labels, a palette TIFF")
    slide.add_argument("--compression", choices=("jpeg", "zlib"), default="jpeg")
    slide.add_argument(
        "--repeat",
        type=int,
        metavar="PX",
        help="for huge slides: paint PX × PX pixels and mirror them over the rest",
    )
    patches = commands.add_parser("patches", help="write a training set", description="Write a training set.")
    patches.add_argument("outdir", metavar="OUTDIR")
    patches.add_argument("--count", type=int, default=1000, help="training patches (default: %(default)s)")
    patches.add_argument("--val", type=int, default=100, help="validation patches (default: %(default)s)")
    patches.add_argument("--test", type=int, default=100, help="test patches (default: %(default)s)")
    patches.add_argument("--size", type=int, default=224, help="side in pixels (default: %(default)s)")
    patches.add_argument("--mpp", type=float, default=0.5, help="µm per pixel (default: %(default)s)")
    patches.add_argument(
        "--seed", type=int, default=1000, help="seed of the first slide (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 usage error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.command == "slide":
            slide = SyntheticSlide(
                options.width, options.height, options.mpp, options.seed, repeat=options.repeat
            )
            write_slide(options.out, slide, truth=options.truth, compression=options.compression)
            sys.stdout.write(f"{options.out}\n")
        else:
            written = paint_patches(
                options.outdir,
                count=options.count,
                val=options.val,
                test=options.test,
                size=options.size,
                mpp=options.mpp,
                seed=options.seed,
            )
            sys.stdout.write(
                ", ".join(f"{n} {split}" for split, n in written.items()) + f": {options.outdir}\n"
            )
    except ValueError as error:
        parser.error(str(error))
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
