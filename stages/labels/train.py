"""Own training of one architecture to the end of a schedule, for its label (SPEC R13); resumable."""

from __future__ import annotations

from dataclasses import replace

from stages.architectures.genotype import Genotype
from stages.architectures.network import build_network
from stages.stage import Execution, Experiment, Stopped
from stages.training import checkpoint, loop
from stages.training.data import device_data
from stages.training.determinism import choose_device, fingerprint, make_deterministic
from stages.training.order import batches_per_epoch


def train_to_the_end(
    experiment: Experiment, index: int, execution: Execution, name: str
) -> tuple[float, dict[str, str]]:
    """Train for `labels.epochs` epochs and return accuracy and what its bits depend on.

    Args:
        experiment: The experiment.
        index: Position of the architecture in the plan.
        execution: Polled at every mini-batch.
        name: Of the stage, for the checkpoint's path.

    Returns:
        Accuracy (fraction) on test images that do not validate, and the fingerprint of device and versions.

    Raises:
        Stopped: Asked to stop; the state is saved.
    """
    config = experiment.config
    make_deterministic(config.training.threads)
    device = choose_device(config.training.device)
    data = device_data(config.data, device, experiment.data_digest)
    genotype = Genotype.parse(experiment.architectures[index])
    network = build_network(genotype, config.network_shape, config.training.seed).to(device)
    schedule = replace(
        config.training, epochs=max(1, config.labels.epochs)
    )  # the cosine ends where training does
    trainer = loop.Trainer(network, data, schedule)
    here, path = fingerprint(device), experiment.layout.checkpoint(name, index)
    epoch = batches_per_epoch(len(data.source.train_labels), schedule.batch_size)
    last = config.labels.epochs * epoch
    step = _resume(trainer, experiment, execution, name, index)
    while step < last:
        step += 1
        trainer.backward(step)
        trainer.update(step)
        stop = execution.should_stop() and step < last
        if stop or (step % epoch == 0 and step < last):
            content = {"identity": experiment.identity, "fingerprint": here, "step": step}
            with execution.guard():
                checkpoint.save(path, {**content, "trainer": loop.state(trainer)})
        if stop:
            raise Stopped(f"index {index} saved at mini-batch {step} of {last}")
        execution.progress(step / last)
    source = data.source
    accuracy, _ = loop.evaluate(network, data, source.test_images, source.test_labels, schedule.batch_size)
    return accuracy, here


def _resume(
    trainer: loop.Trainer, experiment: Experiment, execution: Execution, name: str, index: int
) -> int:
    device = choose_device(experiment.config.training.device)
    path = experiment.layout.checkpoint(name, index)
    kept = checkpoint.load(path, device, experiment.identity)
    if kept is None:
        return 0
    checkpoint.check_fingerprint(
        path, kept["fingerprint"], fingerprint(device), execution.allow_device_change
    )
    loop.restore(trainer, kept["trainer"])
    return int(kept["step"])
