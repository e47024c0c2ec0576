"""The part of a config that says how and where a run is carried out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from physjax import schema
from physjax.config.names import Name, OutputPath, Plugins
from physjax.config.traits import BY_FLAG, PLACE, ConfigError, Positive, Trait


@schema.strict(ConfigError, "run")
class RunConfig:
    """How and where a run is carried out. Nothing here changes what it computes, bar the first."""

    seed: Annotated[
        int, Field(ge=0, lt=2**32), Trait(not_in_study="it is an axis of the grid: seeds")
    ] = 0
    """Decides initial parameters, batches, augmentation and dropout."""
    precision: Literal["float32", "bf16"] = "float32"
    """Arithmetic of activations; parameters, norms and losses stay float32."""
    name: Annotated[
        Name | None,
        Trait(incidental=True, not_in_study="a run is named by its place in the grid"),
    ] = None
    """Folder below runs_dir. None: made of model, data set, recipe, seed and a short hash."""
    runs_dir: Annotated[
        OutputPath, Trait(incidental=True, not_in_study=BY_FLAG.format("--runs-dir"))
    ] = "runs"
    """Folder that runs lie below."""
    devices: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000)] | None,
        Trait(incidental=True, not_in_study=BY_FLAG.format("--devices")),
    ] = None
    """How many local devices to use; None: all."""
    sharding: Annotated[Literal["pmap", "data", "fsdp"], PLACE] = "pmap"
    """How several devices share a step. `pmap`: a program on each, with its part of the batch;
    `data`: one program over all, the batch in parts (jax.jit over a mesh); `fsdp`: so too, and each
    device keeps a part of the parameters and the optimiser's state. It changes rounding alone."""
    remat: Annotated[bool, PLACE] = False
    """Keep only what goes into each layer for the backward pass, and compute the rest again: less
    memory, more time. It changes rounding alone."""
    steps_per_call: Annotated[int, Field(ge=0, le=1_000_000), PLACE] = 0
    """Steps that one compiled call scans over; 0: a measured choice for the platform."""
    eval_batch_size: Annotated[int, Field(ge=1, le=1_000_000), PLACE] = 500
    """Images that are evaluated at a time."""
    evaluate_every: Annotated[int, Field(ge=1, le=1_000_000), PLACE] = 1
    """Epochs from one evaluation on the test images to the next; the last epoch always has one."""
    checkpoint_minutes: Annotated[Positive, PLACE] = 10.0
    """Save within a long epoch too, whenever this long has passed; every epoch ends with a save."""
    compare_gradients: Annotated[bool, PLACE] = False
    """Note by layer and epoch, on one batch, the cosine between the learning rule's gradient and
    that of backpropagation."""
    plugins: Annotated[
        Plugins,
        Trait(incidental=True, not_in_study="they are named above the grid: plugins = [...]"),
    ] = ()
    """Modules or files with laws, rules, bases or data sets from outside (docs/plugins.md)."""
    tracker: Annotated[Literal["none", "tensorboard", "wandb", "mlflow"], PLACE] = "none"
    """What else is told about the run (extras of these names)."""

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, values: Any) -> Any:
        """`values` with the tracker that a field of its own once switched on."""
        if isinstance(values, dict) and "tensorboard" in values:
            values = dict(values)
            if values.pop("tensorboard") is True:
                values["tracker"] = "tensorboard"
        return values
