"""DiT from files of diffusers: `DiTTransformer2DModel`, each block of which has the vectors of time and class."""

from vidi.weights.layouts import Layout
from vidi.weights.renaming import Names, under

BLOCK: Names = {
    "norm1.linear.*": "condition.*",
    "attn1.to_q.*": "attention.query.*",
    "attn1.to_k.*": "attention.key.*",
    "attn1.to_v.*": "attention.value.*",
    "attn1.to_out.0.*": "attention.output.*",
    "ff.net.0.proj.*": "feed_forward.widen.*",
    "ff.net.2.*": "feed_forward.narrow.*",
}
CONDITION: Names = {
    "timestep_embedder.linear_1.*": "time.widen.*",
    "timestep_embedder.linear_2.*": "time.narrow.*",
    "class_embedder.embedding_table.weight": "label.table.weight",
}
COPIES: Names = {f"transformer_blocks.{block}.norm1.emb.{name}": None for block in range(1, 28) for name in CONDITION}
NAMES: Names = {
    "pos_embed.proj.*": "patches.*",
    **under(CONDITION, "transformer_blocks.0.norm1.emb.", ""),
    **COPIES,
    **under(BLOCK, "transformer_blocks.*.", "blocks.*."),
    "proj_out_1.*": "condition_out.*",
    "proj_out_2.*": "linear_out.*",
}
LAYOUT = Layout("diffusers", NAMES)
