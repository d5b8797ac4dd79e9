"""Slow, plain forms of what encoders are made of, from the equations and from named weights."""

import math

import torch


def weights(module):
    """Parameters and buffers by name; statistics of batch norms are made other than 0 and 1."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def noise(shape, start):
    """Numbers from -1 to 1 that look random and follow from their position."""
    position = torch.arange(torch.Size(shape).numel(), dtype=torch.float64) + 1000.7 * start
    return (2 * ((position * 12.9898).sin() * 43758.5453).remainder(1) - 1).view(shape).float()


def made_up(module, x_shape):
    """Fill weights and make trials by a formula, so that another implementation can be given the same.

    Weights are taken in the order of their names; gains and variances lie around 1.
    """
    with torch.no_grad():
        state = {k: v for k, v in module.state_dict().items() if isinstance(v, torch.Tensor)}
        for place, (name, value) in enumerate(sorted(state.items()), 1):
            gain = name.endswith("weight") and (value.ndim == 1 or "norm" in name)
            if gain or name.endswith("running_var"):
                value.copy_(1 + 0.1 * noise(value.shape, place))
            elif value.is_floating_point():
                n_inputs = value[0].numel() if value.ndim > 1 else 30
                value.copy_(noise(value.shape, place) * (3 / n_inputs) ** 0.5)
    return 2 * noise(x_shape, 0)


def affine(p, name, x):
    """``W x + b`` on the last axis."""
    bias = p.get(f"{name}.bias")
    y = torch.einsum("...i,oi->...o", x, p[f"{name}.weight"])
    return y if bias is None else y + bias


def layer_norm(p, name, x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def batch_norm(p, name, x):
    """On axis 1 of four."""
    shape = (1, -1, 1, 1)
    mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    x = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
    return x * p[f"{name}.weight"].view(shape) + p[f"{name}.bias"].view(shape)


def softmax(x):
    """On the last axis."""
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def elu(x):
    return torch.where(x > 0, x, x.exp() - 1)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def heads_attention(query, key, value, n_heads):
    """Concatenated heads of scaled dot products, head by head and trial by trial."""
    width = query.shape[-1] // n_heads
    trials = []
    for q, k, v in zip(query, key, value, strict=True):
        parts = [slice(h * width, (h + 1) * width) for h in range(n_heads)]
        heads = [softmax(q[:, s] @ k[:, s].T / math.sqrt(width)) @ v[:, s] for s in parts]
        trials.append(torch.cat(heads, dim=1))
    return torch.stack(trials)


def itransformer(p, name, x, n_heads=4, extra=None):
    token = affine(p, f"{name}.embed", x)
    if extra is not None:
        token = torch.cat([token, extra], 1)
    qkv = (affine(p, f"{name}.attention.{part}", token) for part in ("query", "key", "value"))
    mixed = affine(p, f"{name}.attention.out", heads_attention(*qkv, n_heads))
    token = layer_norm(p, f"{name}.norms.0", token + mixed)
    hidden = gelu(affine(p, f"{name}.hidden.0", token))
    token = layer_norm(p, f"{name}.norms.1", token + affine(p, f"{name}.hidden.3", hidden))
    return layer_norm(p, f"{name}.norms.2", token)


def transformer_layer(p, name, x, n_heads=1):
    """Post-norm layer of torch.nn with ReLU."""
    weight, bias = p[f"{name}.self_attn.in_proj_weight"], p[f"{name}.self_attn.in_proj_bias"]
    q, k, v = (torch.einsum("bki,oi->bko", x, weight) + bias).chunk(3, -1)
    mixed = affine(p, f"{name}.self_attn.out_proj", heads_attention(q, k, v, n_heads))
    x = layer_norm(p, f"{name}.norm1", x + mixed)
    hidden = affine(p, f"{name}.linear1", x).clamp(min=0)
    return layer_norm(p, f"{name}.norm2", x + affine(p, f"{name}.linear2", hidden))


def convolve_time(p, name, x):
    """(b, c, t) to (b, f, c, t')."""
    kernel = p[f"{name}.weight"][:, 0, 0]
    y = torch.einsum("bcwk,fk->bfcw", x.unfold(2, kernel.shape[1], 1), kernel)
    return y + p[f"{name}.bias"].view(1, -1, 1, 1)


def convolve_space(p, name, x):
    """(b, f, c, w) to (b, g, 1, w)."""
    y = torch.einsum("bfcw,gfc->bgw", x, p[f"{name}.weight"][..., 0])
    return (y + p[f"{name}.bias"].view(1, -1, 1))[:, :, None]


def mix(p, name, x):
    """(b, f, 1, w) to (b, w * g), windows first."""
    y = torch.einsum("bfw,gf->bwg", x[:, :, 0], p[f"{name}.weight"][..., 0, 0])
    return (y + p[f"{name}.bias"]).flatten(1)


def tsconv_features(p, x, pool_length=51, pool_stride=5):
    """TSConv without its projector."""
    y = convolve_time(p, "temporal.1", x)
    y = elu(batch_norm(p, "temporal.3", y.unfold(3, pool_length, pool_stride).mean(-1)))
    y = elu(batch_norm(p, "spatial.1", convolve_space(p, "spatial.0", y)))
    return mix(p, "mix.0", y)


def projector(p, name, x):
    x = affine(p, f"{name}.linear", x)
    return layer_norm(p, f"{name}.norm", x + affine(p, f"{name}.residual.1", gelu(x)))


def tsconv(p, x):
    return projector(p, "final_layer", tsconv_features(p, x))
