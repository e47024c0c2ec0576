"""Recipes: whole configs by name, which options override single fields of (docs/recipes.md)."""

from __future__ import annotations

from physjax import schema
from physjax.config.config import Config
from physjax.config.traits import ConfigError

# Made for a high accuracy after ten epochs on 32x32 images. How each choice was made:
# docs/recipes.md.
_FAST = Config().replace(
    recipe="fast",
    augment={"pad": 2, "alternate": True, "cutout": 0},
    model={
        "norm_scale": False,
        "norm_momentum": 0.6,
        "activation": "gelu",
        "pool_first": True,
        "kernel_start": "dirac",
        "first_layer": "whitened",
        "logit_scale": 0.111,
        "dropout": 0.0,
    },
    optim={
        "optimizer": "muon",
        "batch_size": 250,
        "learning_rate": 0.5,
        "momentum": 0.85,
        "label_smoothing": 0.2,
    },
)

RECIPES: dict[str, Config] = {
    # What a command takes where none is named.
    "fast": _FAST,
    # The defaults of the fields, as many papers train: batch norm, Nesterov SGD, pad and cutout.
    "standard": Config(),
    # Of the base of that name (Jordan, arXiv:2404.00498).
    "speedrun": _FAST.replace(
        recipe="speedrun", model={"name": "speedrun", "first_layer": "frozen"}
    ),
    # Equilibrium propagation as Kerjan, Hoier & Scellier (arXiv:2606.03584) trained VGG5, with the
    # cross-entropy; experiments/studies/rules_vgg5.toml has the squared error and backpropagation.
    "settling": Config().replace(
        recipe="settling",
        augment={"cutout": 0},
        model={"name": "vgg5", "norm": "none", "kernel_start": "uniform", "dropout": 0.0},
        optim={
            "epochs": 100,
            "batch_size": 64,
            "learning_rate": 0.01,
            "schedule": "cosine",
            "warmup": 0.0,
            "weight_decay": 3e-4,
            "label_smoothing": 0.0,
            "drop_remainder": False,
        },
        rule={"update_rule": "equilibrium-propagation"},
    ),
    # What the paper's authors ran, to the letter: AlexNet on images resized to 224x224.
    "paper": Config().replace(
        recipe="paper",
        augment={"crop": "resized", "normalize": "imagenet", "cutout": 0},
        model={"size": "imagenet", "norm": "none", "dropout": 0.5},
        optim={
            "epochs": 50,
            "batch_size": 128,
            "learning_rate": 0.01,
            "schedule": "constant",
            "warmup": 0.0,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
            "drop_remainder": False,
        },
        run={"eval_batch_size": 128},
    ),
    # Seconds, for tests and for a first look that everything is in place.
    "smoke": Config().replace(
        recipe="smoke",
        data={"dataset": "digits", "train_examples": 200},
        augment={"pad": 2, "cutout": 0},
        model={"width": 0.125, "algorithm": "direct", "dropout": 0.0},
        optim={"epochs": 2, "batch_size": 40, "learning_rate": 0.05, "label_smoothing": 0.0},
    ),
}


def recipe(name: str) -> Config:
    """The recipe of that name. Raises ConfigError with those that exist."""
    if name not in RECIPES:
        raise ConfigError(schema.unknown("recipe", name, RECIPES))
    return RECIPES[name]
