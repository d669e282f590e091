"""The classes of diffusers that ours are compared with, untyped: their annotations are narrower than what they take."""

from typing import Any

import diffusers

library: Any = diffusers
AutoencoderKL: Any = library.AutoencoderKL
DDIMScheduler: Any = library.DDIMScheduler
DDPMScheduler: Any = library.DDPMScheduler
DiTTransformer2DModel: Any = library.DiTTransformer2DModel
StableDiffusionPipeline: Any = library.StableDiffusionPipeline
UNet2DConditionModel: Any = library.UNet2DConditionModel
UNet2DModel: Any = library.UNet2DModel
