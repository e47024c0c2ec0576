"""physjax from Python: train a run, hold it, and ask it for predictions.

config = physjax.recipe("fast").replace(model={"name": "cnn"}, optim={"epochs": 3})
run = physjax.fit(config)
run.predict(images)
run = physjax.load_run("runs/...")
"""

from physjax.api.fitting import fit, load_run
from physjax.api.run import Run

__all__ = ["Run", "fit", "load_run"]
