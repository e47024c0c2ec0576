"""Train one model from a recipe, and draw its figures.

    physjax train --recipe smoke
    physjax train --model physics --dataset cifar10 --epochs 3
    physjax train --model resnet18 --law ring --width 0.5 --learning-rate 0.05

The first is a look, in seconds. The same command again goes on where it stopped.
"""

from __future__ import annotations

import contextlib

from physjax import runtime
from physjax.cli import common


def main() -> None:
    command = common.parse(description=__doc__)
    runtime.configure(restart=True)

    # After configure(), which must stand before the first use of JAX.
    from physjax import data
    from physjax.models.summary import summary
    from physjax.records import RunFolder
    from physjax.train import loop, multihost
    from physjax.train.profile import Profile
    from physjax.train.time_limit import command_limit

    if command.dry_run:
        print(common.dump(loop.resolve(command.config)))
    elif command.summary:
        runtime.require_devices()
        config = loop.resolve(command.config)
        classes = len(data.class_names(config.data))
        print(summary(config.model, classes, config.optim.batch_size))
    else:
        from physjax.report.run import report_run

        limit = command_limit(command.time_limit)
        with contextlib.ExitStack() as stack:
            if command.distributed:
                stack.enter_context(multihost.distributed(command.peer_timeout))
            runtime.require_devices()
            profile = Profile()
            record = loop.fit(
                command.config,
                callbacks=[profile] if command.profile else [],
                fresh="yes" if command.fresh else "no",
                time_limit=limit,
            )
            leads = multihost.is_lead_host()
        if not leads:
            return
        folder = RunFolder.of(record.config)
        report_run(folder.path, command.figure_format)
        assert record.result is not None
        if profile.trace is not None:
            print(f"a trace for https://ui.perfetto.dev in {profile.trace}")
        elif command.profile:
            print("no step was left to trace; --fresh trains the run anew")
        print(f"test accuracy {record.result.test_accuracy:.2%}, figures in {folder.figures}")
