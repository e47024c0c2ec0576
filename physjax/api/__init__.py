"""physjax from Python: train a run, hold it, and ask it for predictions.

config = physjax.recipe("fast").replace(model={"name": "cnn"}, optim={"epochs": 3})
run = physjax.fit(config)
run.predict(images)
run = physjax.load_run("runs/...")
"""

from physjax.api.run import Run
from physjax.api.training import fit, load_run

__all__ = ["Run", "fit", "load_run"]
