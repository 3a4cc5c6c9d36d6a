"""The names and numbers that the whole field shares: classes, tags, distance buckets, the vision tower.

Imports nothing, so that worker processes, commands and travelling files alike may read it at no cost.
"""

# The project as its users know it.
MODEL_TYPE = "geograph"
TASK = "geograph-types"
MODEL_NAME = "geograph-type-classifier"
DATASET_NAME = "geograph-types"

# What the model predicts, in this order (official v1 to v2.3).
CLASSES = ["Aerial", "Close Look", "Cross Far", "Extra", "Geograph", "Inside", "From Drone"]

# What people wrote on the photos, untouched in the data.
TAGS = ["Aerial", "Close Look", "Cross Grid", "Extra", "From Above", "From Drone", "Geograph", "Inside"]

# The class that a tag trains as where the model has none of the tag's own name: raw Cross Grid is a long view (near
# Cross Grid is a matter of coordinates), raw From Above looks like a drone's photo.
CLASS_OF_TAG = {"Cross Grid": "Cross Far", "From Above": "From Drone"}

# Distance buckets: 0 for no distance at all, i + 1 for 2^i metres (i = 0 … 20), the last where it is not known.
NUM_DISTANCE_BUCKETS = 23
UNKNOWN_BUCKET = NUM_DISTANCE_BUCKETS - 1
UNKNOWN_DISTANCE = "Unknown"

# Width of the official embeddings: CLIP ViT-B/32, projected.
EMBEDDING_DIM = 512

# The official embeddings come from this tower; the commit pins its weights.
VISION_MODEL = "openai/clip-vit-base-patch32"
VISION_MODEL_REVISION = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"

# The official training counted Cross Grid as Cross Far only beyond so many metres, and doubted Geograph from there.
OFFICIAL_FAR = 256

# A photo's page on the site.
PHOTO_PAGE = "https://www.geograph.org.uk/photo/{}"


def tower_of(config=None, vision_model: str | None = None) -> tuple[str, str | None]:
    """Which CLIP tower makes a model's embeddings, as (Hub id or folder, commit): the only rule of that choice.

    The given name, else the config's own, else the official one. A commit goes with its own name only: another tower
    is taken as it is today.
    """
    own = VISION_MODEL, VISION_MODEL_REVISION
    if config is not None:
        own = config.vision_model, config.vision_model_revision
    if not vision_model or str(vision_model) == own[0]:
        return own
    return str(vision_model), VISION_MODEL_REVISION if str(vision_model) == VISION_MODEL else None


def class_of(tag: str, classes: list[str] | tuple[str, ...] = tuple(CLASSES)) -> str | None:
    """The class that a raw tag trains as: its own name where there is such a class, else as `CLASS_OF_TAG` says.

    None where the model knows neither: the tag is then no target at all.
    """
    if tag in classes:
        return tag
    other = CLASS_OF_TAG.get(tag)
    return other if other in classes else None


def tag_of(name: str) -> str:
    """A class → the tag that people know it by (the model's own Cross Far is submitted as Cross Grid)."""
    return "Cross Grid" if name == "Cross Far" else name
