"""physjax: physics-driven layers and learning rules on image classifiers, in JAX/Flax.

The public names; each is loaded when it is first asked for, so that `import physjax` takes no time
and records can be read and drawn without JAX.
"""

from etils import epy as _epy

__version__ = "0.1.0"

with _epy.lazy_api_imports(globals()):
    from physjax.api import Run, fit, load_run
    from physjax.config import RECIPES, Config, ConfigError, recipe
    from physjax.data import DATASETS, DataError, Dataset, from_arrays
    from physjax.data import load as load_dataset
    from physjax.errors import Interrupted, NotFinite, UserError
    from physjax.forces import LAWS, ForceLaw
    from physjax.models import MODELS, ModelSpec, build
    from physjax.nn.physics import PhysicsLayer
    from physjax.records import RecordError, RunFolder
    from physjax.rules import RULES, LearningRule
    from physjax.train.callbacks import Callback

__all__ = [
    "DATASETS",
    "LAWS",
    "MODELS",
    "RECIPES",
    "RULES",
    "Callback",
    "Config",
    "ConfigError",
    "DataError",
    "Dataset",
    "ForceLaw",
    "Interrupted",
    "LearningRule",
    "ModelSpec",
    "NotFinite",
    "PhysicsLayer",
    "RecordError",
    "Run",
    "RunFolder",
    "UserError",
    "build",
    "fit",
    "from_arrays",
    "load_dataset",
    "load_run",
    "recipe",
]
