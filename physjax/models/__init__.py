"""The base models and their registry. Every family takes the layer to build with.

A new base is one file with a :class:`ModelSpec` in it and one line in `MODELS`.
"""

from etils import epy

from physjax.config.registry import Registry

MODELS: "Registry[ModelSpec]" = Registry(
    "model",
    "physjax.models.base:ModelSpec",
    {
        "cnn": "physjax.models.cnn",
        "alexnet": "physjax.models.alexnet",
        "physics": "physjax.models.alexnet",
        "vgg5": "physjax.models.vgg5",
        "vgg11": "physjax.models.vgg",
        "vgg16": "physjax.models.vgg",
        "googlenet": "physjax.models.googlenet",
        "resnet18": "physjax.models.resnet",
        "resnet20": "physjax.models.resnet",
        "densenet": "physjax.models.densenet",
        "speedrun": "physjax.models.speedrun",
    },
)
"""By name; each file is imported when its base is first asked for."""

with epy.lazy_api_imports(globals()):
    from physjax.models.base import AUXILIARY, Classifier, ModelSpec
    from physjax.models.builder import (
        build,
        first_layer,
        get_spec,
        image_size,
        init_variables,
        law_name,
    )

__all__ = [
    "AUXILIARY",
    "MODELS",
    "Classifier",
    "ModelSpec",
    "build",
    "first_layer",
    "get_spec",
    "image_size",
    "init_variables",
    "law_name",
]
