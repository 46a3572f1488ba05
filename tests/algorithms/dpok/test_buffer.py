from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.diffusion.sampler import Samples


def rollout(number: int, steps: int = 3, images: int = 2) -> Samples:
    """Latents and log-probabilities that name their rollout, step and image."""
    step, image = torch.arange(steps + 1)[:, None], torch.arange(images)
    names = 100.0 * number + 10 * step + image
    trajectory = names[:, :, None, None, None].expand(-1, -1, 1, 2, 2)
    return Samples(trajectory[-1], images, trajectory.clone(), -names[:-1])


def filled(rollouts: int) -> TransitionBuffer:
    buffer = TransitionBuffer(2, steps=3, images=2, latent_shape=(1, 2, 2))
    for number in range(1, rollouts + 1):
        buffer.add(rollout(number), torch.tensor([1.0, 2.0]) * number, torch.tensor([0, number]))
    return buffer


def test_rows_are_transitions_of_one_image() -> None:
    buffer = filled(1)
    assert len(buffer) == 6
    rows = buffer.rows(torch.arange(6))
    assert rows.step.tolist() == [0, 0, 1, 1, 2, 2]
    assert rows.latents[:, 0, 0, 0].tolist() == [100, 101, 110, 111, 120, 121]
    assert rows.previous[:, 0, 1, 1].tolist() == [110, 111, 120, 121, 130, 131]
    assert rows.log_prob.tolist() == [-100, -101, -110, -111, -120, -121]
    assert rows.reward.tolist() == [1, 2, 1, 2, 1, 2]
    assert rows.prompt.tolist() == [0, 1] * 3
    assert rows.fresh.all()


def test_the_last_rollouts_are_kept() -> None:
    buffer = filled(3)
    assert len(buffer) == 12
    rows = buffer.rows(torch.arange(12))
    assert sorted({int(value) // 100 for value in rows.latents[:, 0, 0, 0]}) == [2, 3]
    fresh = {int(value) // 100 for value in rows.latents[rows.fresh][:, 0, 0, 0]}
    assert fresh == {3}


def test_an_image_has_one_place() -> None:
    rows = filled(2).rows(torch.tensor([0, 1, 2, 6, 7, 11]))
    assert rows.prompt.tolist() == [0, 1, 0, 0, 2, 2]
    assert rows.reward.tolist() == [1, 2, 1, 2, 4, 4]
    assert rows.image.tolist() == [0, 1, 0, 2, 3, 3]


def test_rows_are_drawn_without_replacement() -> None:
    generator = torch.Generator().manual_seed(0)
    assert sorted(filled(1).draw(9, generator).tolist()) == list(range(6))
    assert len(filled(2).draw(5, generator)) == 5


@given(st.integers(1, 40), st.integers(0, 2), st.integers(0, 9))
def test_in_epochs_no_row_comes_again_before_all_others(count: int, left: int, seed: int) -> None:
    buffer = filled(2)
    series = buffer.draw_epochs(count, torch.Generator().manual_seed(seed), left)
    assert len(series) == count
    held = 2 * (3 - left) * 2
    for epoch in series.split(held):
        assert len(set(epoch.tolist())) == len(epoch)
        assert buffer.rows(epoch).step.max() < 3 - left
    # Another epoch has another order.
    if count >= 24 and left == 0:
        assert series[:12].tolist() != series[12:24].tolist()


def test_the_last_steps_can_be_left_out() -> None:
    buffer, generator = filled(2), torch.Generator().manual_seed(0)
    drawn = buffer.draw(100, generator, last_left_out=1)
    assert len(set(drawn.tolist())) == len(drawn) == 8
    assert buffer.rows(drawn).step.max() == 1


def test_leaving_nothing_out_draws_the_same_rows_as_ever() -> None:
    drawn = filled(2).draw(7, torch.Generator().manual_seed(3))
    assert (
        drawn.tolist()
        == torch.randperm(12, generator=torch.Generator().manual_seed(3))[:7].tolist()
    )


def test_whole_images_bring_all_their_steps() -> None:
    buffer, generator = filled(2), torch.Generator().manual_seed(0)
    rows = buffer.rows(buffer.draw_images(7, generator))
    assert rows.step.tolist() == [0, 1, 2, 0, 1, 2]  # two images of three steps fit into 7 rows
    images = rows.image.view(2, 3)
    assert (images == images[:, :1]).all()
    assert images[0, 0] != images[1, 0]
    fewer = buffer.rows(buffer.draw_images(7, generator, last_left_out=1))
    assert fewer.step.tolist() == [0, 1] * 3
    assert len(buffer.draw_images(1, generator)) == 3  # one image at least
    assert len(buffer.draw_images(100, generator)) == 12  # and no more than there are


def test_every_latent_is_stored_once() -> None:
    buffer = TransitionBuffer(2, steps=50, images=10, latent_shape=(4, 64, 64))
    assert buffer.trajectory.nbytes == 2 * 51 * 10 * 16384 * 4


def test_restored_buffer_is_the_same() -> None:
    buffer, other = filled(3), filled(1)
    other.load_state_dict(buffer.state_dict())
    for one, two in zip(buffer.rows(torch.arange(12)), other.rows(torch.arange(12)), strict=True):
        assert torch.equal(one, two)


def test_a_rollout_needs_its_trajectory() -> None:
    with pytest.raises(ValueError, match="keep_trajectory"):
        filled(1).add(Samples(torch.zeros(2, 1, 2, 2), 2), torch.zeros(2), torch.zeros(2))
