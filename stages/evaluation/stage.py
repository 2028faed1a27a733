"""The `evaluate` stage: scores of every method as data, and from them tables and pictures (R20, R25, R26)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.experiment import Experiment
from stages.nap2.models import plan
from stages.nap2.models.config import BigruConfig
from stages.scoring import results
from stages.scoring.sources import Source, digests, sources, target_trial
from stages.splits.config import SplitsConfig
from stages.stage import Execution, Input, Outcome, Shared, Stage
from storage_schema import create, documents, markers, schema, write
from storage_schema.read import open_derived


class EvaluateStage(Stage):
    """One index a trial of each source: the experiment's own trials first, then those of `evaluation.sources`."""

    name = "evaluate"

    def num_tasks(self, experiment: Experiment) -> int:
        """Count the trials of every source."""
        return sum(source.experiment.settings(SplitsConfig).num_trials for source in sources(experiment))

    def key(self, experiment: Experiment, index: int) -> str:
        """Name source and trial, as in `in-domain/0`."""
        source, trial = _task(experiment, index)
        return f"{source.name}/{trial}"

    def describe(self, experiment: Experiment, index: int) -> str:
        """Name source and trial."""
        source, trial = _task(experiment, index)
        return f"{source.name}, trial {trial}"

    def settings(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return the models' names, the scores of baselines, and the digests of another experiment's models."""
        found = dict(self.settings_before_keys(experiment, index))
        found["models"] = sorted(found["models"])
        source, trial = _task(experiment, index)
        if not source.in_domain:
            models = _models(source.experiment, trial)
            found["digests"] = {str(each): digests(source.experiment, each) for each in models}
        return found

    def settings_before_keys(self, experiment: Experiment, index: int) -> Mapping[str, Any]:
        """Return the same with models in the order of the source's settings."""
        source, trial = _task(experiment, index)
        keys = [key for key in plan.predictors(source.experiment.settings) if key.trial == trial]
        found: dict[str, Any] = {"source": source.name, "trial": trial, "models": list(map(str, keys))}
        scored = results.of_trial(experiment, source.name, trial)
        found["baselines"] = dict.fromkeys(results.methods(experiment)) | {
            result.key: result.digest for result in scored
        }
        if not source.in_domain:
            found["digests"] = [
                digests(source.experiment, each) for each in _models(source.experiment, trial)
            ]
        return found

    def inputs(self, experiment: Experiment, index: int) -> Sequence[Input]:
        """The split of the tested architectures, the references (R26) and, in-domain, embeddings and predictors."""
        source, trial = _task(experiment, index)
        found = [
            Input("split", target_trial(experiment, trial)),
            *results.references(experiment, source.name, trial),
        ]
        return [*found, *(_models(experiment, trial) if source.in_domain else ())]

    def files(self, experiment: Experiment, index: int) -> dict[str, Path]:
        """The store of the trial's scores."""
        source, trial = _task(experiment, index)
        return {"scores": experiment.layout.scores(source.name, trial)}

    def run(self, experiment: Experiment, index: int, execution: Execution) -> Outcome:
        """Score one trial's test architectures by every method."""
        from stages.evaluation.scores import Trial, count_twins, score
        from stages.training.determinism import choose_device, fingerprint, provenance

        start, (source, number) = time.perf_counter(), _task(experiment, index)
        trial = Trial(
            target=experiment,
            target_trial=target_trial(experiment, number),
            source=source,
            source_trial=number,
        )
        with execution.beating():  # maps of another experiment are encoded for minutes
            (contents, notes), twins = score(trial), count_twins(trial)
        attributes = {
            "title": "scores of all methods on test architectures",
            "schema_version": experiment.schema_version,
            "identity": execution.identity,
            "source": source.name,
            "source_experiment": source.experiment.identity,
            "trial": number,
            "test_with_twin_in_train": json.dumps(twins),
            "notes": json.dumps(notes),
            "settings": json.dumps(dict(self.settings(experiment, index))),
        }
        with execution.guard():
            create.replace(experiment.layout.scores(source.name, number), schema.SCORES, contents, attributes)
        where = provenance(fingerprint(choose_device(experiment.settings(BigruConfig).device)), [])
        result = {
            "source": source.name,
            "trial": number,
            "test_with_twin_in_train": twins,
            "seconds": round(time.perf_counter() - start, 2),
        }
        return Outcome(digests=write.digests(self.files(experiment, index)), result=result, provenance=where)

    def finalise(self, experiment: Experiment) -> None:
        """Compute tables and pictures of every source whose trials are all scored."""
        from stages.evaluation.report import write_report

        for source in sources(experiment):
            if self._complete(experiment, source):
                write_report(experiment, source.name, source.experiment)

    def _complete(self, experiment: Experiment, source: Source) -> bool:
        """Whether all trials of a source are scored, with the models of now."""
        tasks = range(self.num_tasks(experiment))
        mine = [index for index in tasks if _task(experiment, index)[0].name == source.name]
        return all(self._scored(experiment, index) for index in mine)

    def _scored(self, experiment: Experiment, index: int) -> bool:
        mine = Input(self.name, index, self.key(experiment, index))
        path = self.files(experiment, index)["scores"]
        if markers.load(mine.marker(experiment.layout)) is None or not path.is_dir():
            return False
        kept = _sorted(open_derived(path, self.name, schema.SCORES).attrs["settings"])
        ways = (self.settings, self.settings_before_keys)
        return any(kept == _sorted(json.dumps(dict(way(experiment, index)))) for way in ways)

    def shared(self, experiment: Experiment) -> Shared:
        """Tables and pictures, of every source there ever was."""
        folder = experiment.layout.root / "evaluation"
        found = (path for path in sorted(folder.glob("*/*")) if path.is_file())
        return Shared(files={str(path.relative_to(folder)): path for path in found})

    def report(self, experiment: Experiment) -> list[str]:
        """Return the tables of τ and where the pictures are."""
        lines: list[str] = []
        for source in sources(experiment):
            folder = experiment.layout.evaluation(source.name)
            if (folder / "tau.md").is_file():
                lines += (folder / "tau.md").read_text(encoding="utf-8").splitlines()
                lines += [f"all tables: {folder / 'tables.md'}"]
                lines += [f"picture: {path}" for path in sorted(folder.glob("*.png"))]
        return lines


def _sorted(text: str) -> str:
    """Write settings so that the order in which they were named makes no difference; what is none stays as it is."""
    try:
        return json.dumps(documents.parse(text.encode(), dict[str, Any]), sort_keys=True)
    except (ValueError, AttributeError):
        return text


def _task(experiment: Experiment, index: int) -> tuple[Source, int]:
    for source in sources(experiment):
        trials = source.experiment.settings(SplitsConfig).num_trials
        if index < trials:
            return source, index
        index -= trials
    raise IndexError(index)


def _models(experiment: Experiment, trial: int) -> list[Input]:
    """Everything trained in a trial, and its split, as inputs."""
    settings = experiment.settings
    embedded = [plan.embedded(settings, key) for key in plan.encoders(settings) if key.trial == trial]
    predicted = [plan.predicted_by(settings, key) for key in plan.predictors(settings) if key.trial == trial]
    return [Input("split", trial), *embedded, *predicted]
