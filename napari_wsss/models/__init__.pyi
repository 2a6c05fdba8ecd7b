from .attention import progressive_dropout_attention as progressive_dropout_attention
from .bundle import (
    EMBEDDED as EMBEDDED,
    Bundle as Bundle,
    Gate as Gate,
    NetworkSpec as NetworkSpec,
    default_bundle as default_bundle,
    list_bundles as list_bundles,
    load_bundle as load_bundle,
    sha256_of as sha256_of,
)
from .bundle_writer import save_bundle as save_bundle
from .cam import (
    class_activation as class_activation,
    multilayer_gradcam as multilayer_gradcam,
    plain_cam as plain_cam,
    resize_maps as resize_maps,
)
from .deeplab import DeepLabV3Plus as DeepLabV3Plus
from .efficientnet_lite import (
    EfficientNetLite0 as EfficientNetLite0,
    imagenet_weights_file as imagenet_weights_file,
    load_imagenet_weights as load_imagenet_weights,
)
from .encoder import Encoder as Encoder
from .encoder_weights import load_encoder_weights as load_encoder_weights
from .encoders import (
    EncoderRecipe as EncoderRecipe,
    encoder_names as encoder_names,
    find_encoder as find_encoder,
    register_encoder as register_encoder,
)
from .gate import apply_gate as apply_gate, open_classes as open_classes
from .legacy import import_checkpoints as import_checkpoints, load_stage1_weights as load_stage1_weights
from .lite_classifier import LiteClassifier as LiteClassifier
from .patch_classifier import PatchClassifier as PatchClassifier
from .place_classifier import PlaceClassifier as PlaceClassifier, PlaceFeatures as PlaceFeatures
from .pseudo_masks import pseudo_mask as pseudo_mask, white_background as white_background
from .registry import build_stage1 as build_stage1, build_stage2 as build_stage2
from .resnet38 import ResNet38 as ResNet38
from .schemas import resolve_schema as resolve_schema
from .scores import scores_text as scores_text
from .segmentation_network import SegmentationNetwork as SegmentationNetwork
