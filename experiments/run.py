"""Train one model from a recipe, and draw its figures.

python experiments/run.py --model physics

The same command again goes on where it stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from physjax import cli, runtime


def main() -> None:
    command = cli.parse(description=__doc__)
    runtime.configure(restart=True)

    # After configure(), which must stand before the first use of JAX.
    from physjax import data, hosts, loop
    from physjax.config import run_name
    from physjax.summary import summary

    if command.distributed:
        hosts.initialize_distributed()
    if not command.dry_run:
        runtime.require_devices()
    if command.dry_run:
        print(cli.dump(loop.resolve(command.config)))
    elif command.summary:
        config = loop.resolve(command.config)
        classes = data.DATASETS[config.data.dataset].num_classes
        print(summary(config.model, classes, config.optim.batch_size))
    else:
        from physjax.report.run import report_run

        record = loop.fit(command.config, fresh="yes" if command.fresh else "no")
        if not hosts.is_lead_host():
            return
        folder = Path(command.config.run.runs_dir) / run_name(record.config)
        report_run(folder, command.figure_format)
        assert record.result is not None
        print(f"test accuracy {record.result.test_accuracy:.2%}, figures in {folder / 'figures'}")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
