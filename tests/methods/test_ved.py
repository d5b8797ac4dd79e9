"""What VED's recipe says, against derivations of our own and what its public logs and code have."""

import math

import torch

from braindecode_ssr.images.views import build_view, view_name
from braindecode_ssr.methods import METHODS
from braindecode_ssr.models import SSR
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.training.retriever import build_loss

VED = METHODS["ved"]
KERNELS = [1, 3, 9, 15, 21, 27, 33, 39, 45, 51, 57, 63]


def asked(dataset="things-eeg", protocol="intra"):
    return run_spec({"method": "ved", "data": {"dataset": dataset, "protocol": protocol}})


def test_views_are_twelve_levels_of_blur_by_their_own_names():
    kernels = [build_view(view).parameters.get("kernel", 1) for view in VED.views]
    assert kernels == KERNELS
    assert [view_name(view) for view in VED.views] == list(VED.views)


def test_a_kernel_of_one_pixel_is_the_original():
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(build_view("blur?kernel=1")(images, seed=[0, 1]), images)


def test_the_loss_of_a_fixed_input():
    """Both cross-entropies of dot products with images of unit length, on a scale of 1, by hand."""
    brain, original = [[2.0, 1.0], [-1.0, 3.0]], [[9.0, 9.0], [9.0, 9.0]]
    view = [[3.0, 4.0], [0.0, -2.0]]  # of unit length: (0.6, 0.8) and (0, -1)
    rivals = [  # dot product with the other one, less that with the own one: by trial, then by image
        -1.0 - 2.0,
        1.8 - -3.0,
        1.8 - 2.0,
        -1.0 - -3.0,
    ]
    wanted = sum(math.log1p(math.exp(less)) for less in rivals) / 4
    assert round(wanted, 4) == 1.8955
    loss = build_loss(asked())
    assert not list(loss.parameters())
    parts = loss(torch.tensor(brain), torch.tensor(original), torch.tensor(view))
    torch.testing.assert_close(parts["loss"].item(), wanted, rtol=1e-5, atol=1e-6)


def test_epochs_and_encoder_of_a_dataset():
    assert [asked("things-eeg", way).train.epochs for way in ("intra", "inter")] == [150, 50]
    assert [asked("things-meg", way).train.epochs for way in ("intra", "inter")] == [100, 100]
    assert asked("things-eeg", "inter").model.backbone_params == {}
    assert asked("things-meg", "inter").model.backbone_params["spatial_weights"] == "signed"
    other = run_spec(
        {"method": "ved", "data": {"dataset": "things-meg"}, "model": {"backbone": "EEGNet"}}
    )
    assert other.model.backbone_params == {} and other.model.image_head == "blur-mixer"


def test_what_the_recipe_counts():
    """Parts by hand: the public code's, and a linear map to 512 on either side."""
    brain = 25 * 63 + 2 * 25 + 251 * 200 + 201 * 200 + 5001 * 1024
    image = (12 + 4 + 4) * 1024 + 1025 * 768 + 769 * 1024
    assert VED.parameters["things-eeg"]["intra"] == brain + image + 2 * 1025 * 512
    brain = 50 * 271 + 201 * 150 + 151 * 150 + 7501 * 1024
    image = (12 + 3 + 3) * 1024 + 2 * 1025 * 1024
    assert VED.parameters["things-meg"]["inter"] == brain + image + 2 * 1025 * 512


def test_an_original_instead_of_each_level_and_the_mixture_are_two_galleries():
    torch.manual_seed(0)
    spec = asked()
    model = SSR(
        n_outputs=6,
        n_chans=4,
        n_times=100,
        backbone=spec.model.backbone,
        width=16,
        n_features=24,
        image_head=spec.model.image_head,
        feature_widths=[2] * 12,
    ).eval()
    levels = torch.randn(5, 12, 2)
    original, views = levels[:, :1].expand(5, 12, 2).flatten(1), levels.flatten(1)
    assert not torch.allclose(model.image_head(original), model.image_head(views))
