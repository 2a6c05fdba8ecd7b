from .patches import PatchOptions as PatchOptions, write_patches as write_patches
