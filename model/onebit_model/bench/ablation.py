"""What each part of the method is worth: fine-tunes of as many steps from one converged checkpoint, on the same data.

    python -m onebit_model.bench.ablation model/recipes/ablation.toml [--output runs/ablation] [--seeds 1]

The recipe says what is trained, on what and for how long; each row of the table below changes only how it is
quantised, and keeps what the rows above it added. Word error rates are greedy, of the recipe's dev set, by the torch
network. Rows that were finished before are not trained again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from onebit_model.recipe import QuantizeConfig, Recipe, load_recipe
from onebit_model.trainer import Trainer

RATES = "rates.json"
PRECISIONS = {"wer": "full precision", "wer_4bit": "4 bit", "wer_2bit": "2 bit", "wer_1bit": "1 bit"}


def rows(parts: tuple[str, ...]) -> Iterator[tuple[str, QuantizeConfig | None]]:
    """The table, from the control to the whole method; `parts` of the network are quantised."""
    yield "full-precision control", None
    naive = QuantizeConfig(
        parts=parts,
        passes="one",
        nested=False,
        per_row=False,
        private_norms=False,
        learnable_scales=False,
        precisions=(1,),
        stochastic_share=0.0,
        distillation_weight=0.0,
        ctc_weight=1.0,
        ramp=0.0,
        activations_from=1.0,
    )
    yield "naive 1 bit: a fixed scale per tensor", naive
    scaled = replace(naive, learnable_scales=True)
    yield "+ learnable scales", scaled
    cotrained = replace(scaled, passes="joint", precisions=(1, 2, 4), ctc_weight=0.5)
    yield "+ co-training with 2 bit, 4 bit and full precision", cotrained
    stochastic = replace(cotrained, stochastic_share=1.0)
    yield "+ stochastic precision", stochastic
    distilled = replace(stochastic, distillation_weight=1.0)
    yield "+ distillation", distilled
    yield (
        "+ ours: nested codes, scales per row, private norms, matched encoder outputs, ramp, int8 activations",
        replace(
            distilled,
            nested=True,
            per_row=True,
            private_norms=True,
            matching_weight=0.5,
            ramp=0.25,
            activations_from=0.75,
        ),
    )


def error_rates(recipe: Recipe, root: Path, output: Path) -> dict[str, float]:
    """Word error rates of the dev set after training by `recipe`, or those kept from before."""
    kept = output / RATES
    if not kept.exists():
        trainer = Trainer(recipe, root, output, output.parent / "caches")
        trainer.run()
        if trainer.precision is not None and recipe.quantize is not None:
            trainer.precision.activations = recipe.quantize.activations_from < 1
        rates = {name: value for name, value in trainer.evaluate().items() if name in PRECISIONS}
        kept.write_text(json.dumps(rates))
    rates = json.loads(kept.read_text())
    assert isinstance(rates, dict)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    base = load_recipe(arguments.recipe)
    root = arguments.recipe.resolve().parent
    lines = [f"| | seed | {' | '.join(PRECISIONS.values())} |", "|---|---" + "|---" * len(PRECISIONS) + "|"]
    for seed in range(base.seed, base.seed + arguments.seeds):
        for number, (name, quantize) in enumerate(rows(base.trainable)):
            recipe = replace(base, seed=seed, quantize=quantize)
            rates = error_rates(recipe, root, arguments.output / f"{number}-seed{seed}")
            trained = {"wer_1bit"} if quantize and quantize.precisions == (1,) else rates.keys()
            values = [f"{rates[key]:.1f}" if key in rates and key in trained else "" for key in PRECISIONS]
            lines.append(f"| {name} | {seed} | {' | '.join(values)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
