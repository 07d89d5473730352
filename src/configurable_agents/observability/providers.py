"""Which provider served a call, and what its model is called there. No price table is needed for it.

The names are those users know (`xai`, `voyage`); the estimator knows the price table's own. Azure and
AWS are kept apart from the makers of the models they serve because their prices differ. The Gemini API
and Vertex AI are both `google`: the price table has one list for the two.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

UNKNOWN_PROVIDER = "unknown"
"""Shown where nothing tells who served a call."""
NAME_CHARS_MAX = 256
"""Longer names are cut before they are looked at."""

OLLAMA = "ollama"
OLLAMA_CLOUD = "ollama-cloud"
"""Ollama's hosted models; unlike local ones they are not free."""
LOCAL = "local"
LOCAL_PROVIDERS = frozenset({OLLAMA, LOCAL})
"""Models on the user's own machine: known to cost nothing per call."""

_ALIASES = {
    "anthropic": ("claude",),
    "aws": ("amazon", "amazon-bedrock", "aws-bedrock", "bedrock", "bedrock-converse", "aws.bedrock"),
    "azure": ("azure-ai", "azure-openai", "azure.ai.openai", "azure.ai.inference", "az.ai.openai"),
    "cerebras": (),
    "cohere": ("cohere-chat",),
    "crusoe": (),
    "deepseek": (),
    "fireworks": ("fireworks-ai",),
    "google": (
        *("gemini", "google-gemini", "google-genai", "google-generativeai", "google-gla", "googleapis.com"),
        *("google-vertex", "vertex", "vertex-ai", "vertexai", "gcp.gemini", "gcp.vertex-ai", "gcp.gen-ai"),
        "vertex-ai-beta",
    ),
    "groq": (),
    "huggingface": ("hugging-face", "hf"),
    LOCAL: ("llama.cpp", "llamacpp", "llamafile", "lm-studio", "lmstudio"),
    "mistral": ("mistralai", "mistral-ai"),
    "moonshotai": ("moonshot",),
    OLLAMA: ("ollama-chat",),
    OLLAMA_CLOUD: (),
    "openai": ("openai-chat", "openai-responses", "text-completion-openai"),
    "openrouter": (),
    "perplexity": (),
    "snowflake": (),
    "together": ("together-ai", "togetherai"),
    "voyage": ("voyageai", "voyage-ai"),
    "xai": ("x-ai", "grok"),
    "zai": ("z-ai", "z.ai"),
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}
_GATEWAYS = frozenset({"litellm", "langchain", "portkey", "pydantic-gateway", "unknown", "none", "auto"})
"""These pass calls on: naming one does not say who served the call."""

_OLLAMA_FAMILIES = (
    r"llama[2-9](\.\d+)?|llama|mistral|mixtral|qwen|qwen\d(\.\d+)?|qwq|phi|phi[2-9](\.\d+)?"
    r"|phi4-mini|gemma|gemma[2-9]n?|deepseek-r1|codellama|codegemma|tinyllama|vicuna|orca-mini|llava"
    r"|starcoder2?|nomic-embed-text|mxbai-embed-large|all-minilm|granite\d(\.\d+)?|smollm2?|olmo2|gpt-oss"
)
_OLLAMA_TAG = (
    r"latest|\d+(\.\d+)?[bm](-[\w.-]+)?|\d+x\d+b(-[\w.-]+)?|e\d+b(-[\w.-]+)?|instruct|text|chat|code|cloud"
)
_OLLAMA_NAME = re.compile(rf"(?:{_OLLAMA_FAMILIES})|[a-z0-9][\w.-]*:(?:{_OLLAMA_TAG})")
_OLLAMA_CLOUD_NAME = re.compile(r"[\w./-]+:(?:[\w.]+-)?cloud")

_AWS_NAME = re.compile(
    r"(?:(?:us|eu|apac|jp|au|ca|sa|us-gov|global)\.)?"
    r"(?:amazon|anthropic|meta|mistral|cohere|ai21|deepseek|openai|qwen|stability|writer)\.[\w.:-]+"
)
_FIRST_PARTY_NAMES = (
    (
        "openai",
        re.compile(
            r"(?:ft:)?(?:gpt-(?!oss)|chatgpt-|o[1-9](?:$|[-.])|text-embedding-[a3]|davinci|babbage|codex-)"
        ),
    ),
    ("openai", re.compile(r"dall-e|whisper-1|tts-1|omni-moderation|computer-use-preview|text-davinci")),
    ("anthropic", re.compile(r"claude")),
    ("google", re.compile(r"gemini|gemma-\d|text-embedding-00|imagen|veo-|learnlm")),
    (
        "mistral",
        re.compile(r"mistral-|open-mi[sx]tral|ministral|magistral|codestral|devstral|pixtral|voxtral"),
    ),
    ("deepseek", re.compile(r"deepseek-(?:chat|reasoner|v\d|flash)")),
    ("xai", re.compile(r"grok-")),
    ("cohere", re.compile(r"command-|command$|c4ai-|embed-(?:v\d|english|multilingual)|rerank-")),
    ("voyage", re.compile(r"voyage-")),
    ("perplexity", re.compile(r"sonar(?:$|-)")),
    ("moonshotai", re.compile(r"kimi-|moonshot-")),
    ("zai", re.compile(r"glm-")),
)


class DetectedProvider(NamedTuple):
    provider: str
    """Canonical name, or `unknown`."""
    how: str
    """`caller`, `model_prefix`, `response_shape`, `model_name` or `unknown`."""


def detect_provider(model: str, *, provider: str = "", shape_provider: str = "") -> DetectedProvider:
    """What the caller says; else the prefix of the model; else the response's shape; else the model's name.

    A provider of no known name is kept as the caller wrote it (cleaned). Never raises; pure.
    """
    name = _clean(model)
    found = _detected(name, provider, shape_provider)
    if found.provider == OLLAMA and _OLLAMA_CLOUD_NAME.fullmatch(name.lower()):
        return found._replace(provider=OLLAMA_CLOUD)
    return found


def _detected(name: str, provider: str, shape_provider: str) -> DetectedProvider:
    said = canonical_provider(provider)
    if said:
        return DetectedProvider(said, "caller")
    prefixed = _prefix(name)
    if prefixed is not None:
        return DetectedProvider(prefixed[0], "model_prefix")
    shaped = canonical_provider(shape_provider)
    if shaped:
        return DetectedProvider(shaped, "response_shape")
    named = _provider_of_name(name.lower())
    return DetectedProvider(named, "model_name") if named else DetectedProvider(UNKNOWN_PROVIDER, "unknown")


def canonical_provider(provider: str) -> str:
    """The name used in every report; empty for an empty name and for gateways, which serve no model."""
    cleaned = _clean(provider).lower().replace("_", "-")
    if cleaned in _GATEWAYS:
        return ""
    return _CANONICAL.get(cleaned, cleaned)


def normalise_model(provider: str, model: str) -> str:
    """The name the provider itself gives the model: no routing prefix, no percent signs, no resource path.

    A prefix is cut only where it names this very provider: `openai/gpt-oss-120b` is Groq's own name.
    """
    name = _clean(model)
    if "%" in name:
        name = unquote(name)
    for marker in ("/models/", "foundation-model/", "inference-profile/"):
        if marker in name and not name.startswith("accounts/"):
            name = name.rpartition(marker)[2]
    name = name.removeprefix("models/")
    prefixed = _prefix(name)
    return prefixed[1] if prefixed is not None and prefixed[0] == provider else name


def _prefix(name: str) -> tuple[str, str] | None:
    """`groq/llama-3.3-70b` and `groq:llama-3.3-70b` as provider and rest; `mistral:7b` is a tag."""
    slash = name.find("/")
    if slash > 0:
        known = _CANONICAL.get(name[:slash].lower().replace("_", "-"))
        return (known, name[slash + 1 :]) if known and slash + 1 < len(name) else None
    colon = name.find(":")
    if colon > 0 and not _OLLAMA_NAME.fullmatch(name.lower()):
        known = _CANONICAL.get(name[:colon].lower().replace("_", "-"))
        return (known, name[colon + 1 :]) if known and colon + 1 < len(name) else None
    return None


def _provider_of_name(name: str) -> str:
    name = name.rpartition("/models/")[2].removeprefix("models/")
    if _OLLAMA_CLOUD_NAME.fullmatch(name):
        return OLLAMA_CLOUD
    if _OLLAMA_NAME.fullmatch(name):
        return OLLAMA
    if _AWS_NAME.fullmatch(unquote(name)):
        return "aws"
    return next((provider for provider, names in _FIRST_PARTY_NAMES if names.match(name)), "")


def _clean(name: str) -> str:
    return name[:NAME_CHARS_MAX].strip() if isinstance(name, str) else ""
