"""Workflow files that cannot run: each problem is said with its file, line, field and remedy."""

# ruff: noqa: E501 - a case for each line

from __future__ import annotations

from pathlib import Path

import pytest

from configurable_agents.core.checks import read_workflow
from configurable_agents.errors import ConfigurationError, WorkflowInvalidError

GOOD = """\
schema_version: "1.0"
flow: {name: article, description: d, version: 1.0.0, tags: [a], author: me}
state:
  fields:
    topic: {type: str, required: true, description: what it is about}
    items: {type: "list[str]", default: []}
    results: {type: list, default: []}
    draft: {type: str, default: ""}
    score: {type: int, default: 0}
    good: {type: bool, default: false}
nodes:
  - id: write
    name: Writer
    prompt: Write about {state.topic} {hint}
    inputs: {hint: "{state.score}"}
    outputs: [draft]
    output_schema: {type: object, fields: [{name: draft, type: str, description: the text}]}
    llm: {provider: openai, model: gpt-4o-mini, temperature: 0.2, max_tokens: 100}
    tools: [{name: "a.b:c", on_error: continue}, "a.b:d"]
  - {id: rate, python: "a.b:rate", outputs: [score, good]}
  - {id: each, prompt: "{item} {index}", outputs: [draft]}
  - {id: close, prompt: "{draft}", outputs: [draft], output_schema: {type: str}}
edges:
  - {from: START, to: [write, rate]}
  - {from: write, loop: {condition_field: good, max_iterations: 3, exit_to: close}}
  - from: rate
    routes:
      - {condition: {logic: "state.score > 7"}, to: END}
      - {condition: {logic: default}, to: close}
  - {from: close, parallel: {items_field: items, target_node: each, collect_field: results}}
  - {from: each, to: END}
config:
  llm: {provider: google, model: gemini-2.5-flash-lite, temperature: 0.7, api_base: "http://127.0.0.1:1", stream: true}
  execution: {timeout: 120, max_retries: 3, max_iterations: 25}
  observability:
    mlflow: {enabled: true, experiment_name: my_flows}
    profiling: true
  gates: {gates: [{metric: cost_usd, max: 0.5}, {metric: duration_ms, max: 60000}], on_fail: fail}
"""


def problems_of(folder: Path, text: str) -> list[str]:
    path = folder / "w.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WorkflowInvalidError) as refused:
        read_workflow(path)
    return [problem.removeprefix(f"{path}:") for problem in refused.value.problems]


def test_a_workflow_with_every_key_of_the_format_loads_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(GOOD, encoding="utf-8")
    checked = read_workflow(path)
    assert checked.warnings == ()
    assert list(checked.plan.nodes) == ["write", "rate", "each", "close"]
    assert checked.folder == tmp_path
    assert ("write", "close") in checked.plan.declared_graph.edges


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("prompt: Write", "promt: Write", 14, "nodes[0].promt: unknown key; did you mean 'prompt'?"),
        ("temperature: 0.7", "temprature: 0.7", 33, "config.llm.temprature: unknown key; did you mean 'temperature'?"),
        ("temperature: 0.7", "temperature: 7", 33, "config.llm.temperature: input should be less than or equal to 2, not 7"),
        ("{type: int, default: 0}", "{type: integr, default: 0}", 9, "unknown type 'integr'; did you mean 'int'?"),
        ("{type: int, default: 0}", "{type: int, default: many}", 9, "state.fields.score.default: the default 'many' is no int"),
        ("required: true", "required: true, default: x", 5, "a required field takes no default"),
        ("outputs: [score, good]", "outputs: [scor, good]", 20, "'scor' is no field of the state; did you mean 'score'?"),
        ("outputs: [draft]\n    output_schema", "outputs: [score]\n    output_schema", 16, "'score' is not in the output_schema"),
        ("name: draft, type: str", "name: draft, type: int", 17, "'draft' is int here and str in the state"),
        ("{state.topic} {hint}", "{state.topik} {hint}", 14, "nothing fills {topik}; did you mean 'topic'?"),
        ('"{item} {index}"', '"{item} {idx}"', 21, "nothing fills {idx}"),
        ('{hint: "{state.score}"}', '{hint: "{state.scores}"}', 15, "nodes[0].inputs.hint: nothing fills {scores}"),
        ("id: rate", "id: write", 20, "another node is called 'write' too"),
        ("id: rate", "id: 7up", 20, "nodes[1].id: '7up' cannot be used; use letters, digits, _ and -, with a letter first"),
        ("id: rate", f"id: {'x' * 129}", 20, "nodes[1].id: has more than 128 characters"),
        ('python: "a.b:rate"', 'python: "a.b:rate; rm"', 20, "nodes[1].python: 'a.b:rate; rm' cannot be used; write package.module:function"),
        ("max_retries: 3", "max_retries: often", 34, "config.execution.max_retries: expected a whole number, not 'often'"),
        ("temperature: 0.7", "temperature: hot", 33, "config.llm.temperature: expected a number, not 'hot'"),
        ("stream: true", "stream: perhaps", 33, "config.llm.stream: expected true or false, not 'perhaps'"),
        ('python: "a.b:rate"', 'python: "a.b:rate", prompt: hi', 20, "a node has either a prompt or python"),
        ('"a.b:d"]', '"a.b:c"]', 19, "the tool 'a.b:c' is given twice"),
        ("to: [write, rate]", "to: [write, rat]", 24, "there is no node 'rat'; did you mean 'rate'?"),
        ("{from: each, to: END}", "{from: eech, to: END}", 31, "edges[4].from: there is no node 'eech'; did you mean 'each'?"),
        ("exit_to: close", "exit_to: clos", 25, "edges[1].loop.exit_to: there is no node 'clos'; did you mean 'close'?"),
        ("condition_field: good", "condition_field: goood", 25, "'goood' is no field of the state; did you mean 'good'?"),
        ("items_field: items", "items_field: topic", 30, "'topic' must be a list, not str"),
        ("state.score > 7", "state.scor > 7", 28, "'scor' is no field of the state; did you mean 'score'?"),
        ("state.score > 7", "open(state.score)", 28, "'open(state.score)' has no place in the condition"),
        ("{from: START, to: [write, rate]}", "{from: write, to: rate}", 23, "no edge comes from START"),
        ("to: [write, rate]", "to: write", 20, "no way leads from START to 'rate'"),
        ("metric: cost_usd", "metric: cost", 38, "config.gates.gates[0].metric: input should be 'cost_usd'"),
        ("{metric: cost_usd, max: 0.5}", "{metric: cost_usd}", 38, "a gate needs a max or a min"),
        ('schema_version: "1.0"', 'schema_version: "2.0"', 1, "schema_version: input should be '1.0', not '2.0'"),
        ("flow: {name: article,", "flow: {nme: article,", 2, "flow.nme: unknown key; did you mean 'name'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_line_field_and_remedy(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    assert old in GOOD
    found = problems_of(tmp_path, GOOD.replace(old, new, 1))
    matching = [problem for problem in found if said in problem]
    assert matching, found
    assert matching[0].startswith(f"{line}: "), matching


def test_all_problems_are_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("{state.topic}", "{state.topik}").replace("exit_to: close", "exit_to: clos")
    found = problems_of(tmp_path, text.replace("outputs: [score, good]", "outputs: [score, god]"))
    assert [int(problem.partition(":")[0]) for problem in found] == [14, 20, 25]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: [\n  a: b", "not valid YAML: expected ',' or ']'"),
        (
            "a: {b: list[str]}",
            "1:12: not valid YAML: expected ',' or '}', but got '[' (while parsing a flow mapping); quote a type",
        ),
        ("a: 1\nb: 2\na: 3", "3:1: not valid YAML: the key 'a' is given twice, first on line 1"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML: could not determine a constructor"),
        ("", "a workflow is a mapping"),
        ("- 1", "a workflow is a mapping"),
        ("\x00", "not readable as YAML"),
        (GOOD.replace("name: article,", "name: 5,"), "2: flow.name: expected text (in quotes), not 5"),
        (
            GOOD.replace("name: article,", 'name: "a\\nb",'),
            "2: flow.name: a name 'a\\nb' holds control characters",
        ),
        (GOOD.replace("max: 0.5", "max: .nan"), "gates[0].max: input should be a finite number"),
        (
            GOOD.replace("config:\n", "config: [1]\nconfig2:\n"),
            "config: expected a mapping of keys to values, not [1]",
        ),
    ],
)
def test_what_is_no_workflow_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in problem for problem in problems_of(tmp_path, text))


def test_a_list_that_must_not_be_empty_is_said_to_be(tmp_path: Path) -> None:
    text = 'schema_version: "1.0"\nflow: {name: x}\nstate: {fields: {}}\nnodes: []\nedges: []\n'
    assert "4: nodes: is empty; at least one is needed" in problems_of(tmp_path, text)


def test_an_alias_of_what_it_is_in_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "a: &a [*a]\n")
    assert problem.endswith(" is nested too deeply, or a part of it is an alias of what it is in")


def test_aliases_cannot_unfold_without_end(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert any(
        "has more than 100,000 parts" in problem for problem in problems_of(tmp_path, "\n".join(lines))
    )


def test_merged_keys_may_be_given_again(tmp_path: Path) -> None:
    text = GOOD.replace("config:\n", "").replace(
        "  llm: {provider: google", "config:\n  llm: &x {provider: google"
    )
    text = text.replace(
        "llm: {provider: openai, model: gpt-4o-mini,",
        "llm: {<<: {provider: ollama}, provider: openai, model: m,",
    )
    path = tmp_path / "w.yaml"
    path.write_text(text, encoding="utf-8")
    llm = read_workflow(path).plan.nodes["write"].llm
    assert llm is not None
    assert (llm.provider, llm.model) == ("openai", "m")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.yaml: No such file"):
        read_workflow(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        read_workflow(tmp_path / "binary.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * 1_100_000)
    with pytest.raises(ConfigurationError, match="a workflow has at most"):
        read_workflow(tmp_path / "large.yaml")


CYCLE = """\
schema_version: 1.0
flow: {name: cycle}
state: {fields: {score: {type: int, default: 0}}}
nodes: [{id: a, python: "m:f", outputs: [score]}, {id: b, python: "m:f", outputs: [score]}]
edges:
  - {from: START, to: a}
  - {from: a, to: b}
  - BACK
"""


def test_a_cycle_without_a_limit_is_refused(tmp_path: Path) -> None:
    back = (
        "{from: b, routes: [{condition: {logic: score > 3}, to: END}, {condition: {logic: default}, to: a}]}"
    )
    text = CYCLE.replace("BACK", back)
    assert problems_of(tmp_path, text) == [
        (
            "8: edges[2]: a → b → a is a cycle without a limit; set config.execution.max_iterations, or use a loop"
            " with max_iterations"
        )
    ]
    path = tmp_path / "limited.yaml"
    path.write_text(f"{text}config: {{execution: {{max_iterations: 9}}}}\n", encoding="utf-8")
    assert read_workflow(path).plan.cyclic_nodes == {"a", "b"}


def test_a_cycle_that_nothing_leads_out_of_is_refused_with_any_limit(tmp_path: Path) -> None:
    text = CYCLE.replace("BACK", "{from: b, to: a}") + "config: {execution: {max_iterations: 9}}\n"
    assert problems_of(tmp_path, text) == [
        "8: edges[2]: a → b → a never ends: no edge of it has routes or a loop that leads out"
    ]


@pytest.mark.parametrize(
    "another",
    [
        "{from: rate, to: each}",
        "{from: rate, parallel: {items_field: items, target_node: each, collect_field: items}}",
    ],
)
def test_a_node_that_runs_once_per_item_is_reached_by_one_edge(tmp_path: Path, another: str) -> None:
    text = GOOD.replace("  - {from: each, to: END}\n", f"  - {another}\n")
    assert problems_of(tmp_path, text) == [
        "31: edges[4]: 'each' runs once per item, so that one edge leads to it and no other; make a second node"
    ]


FOREIGN = GOOD.replace("config:\n", """\
webhook: {enabled: true}
optimization: {enabled: false}
config:
  memory: {enabled: true}
  sandbox: {enabled: true}
  ab_test: {variants: []}
  storage: {backend: sqlite}
""").replace("    name: Writer\n", """\
    name: Writer
    memory: {enabled: true}
    sandbox: {mode: python}
    optimize: {enabled: true}
    code: "result = 1"
    log_prompts: true
""").replace("{enabled: true, experiment_name: my_flows}", "{enabled: true, async_logging: true, log_artifacts: false}")  # fmt: skip


def test_keys_of_neighbouring_tools_load_with_one_warning_each(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(FOREIGN, encoding="utf-8")
    warned = [warning.removeprefix(f"{path}:").split(": ")[1] for warning in read_workflow(path).warnings]
    assert sorted(warned) == sorted(
        [
            *(
                "webhook",
                "optimization",
                "config.memory",
                "config.sandbox",
                "config.ab_test",
                "config.storage",
            ),
            *(
                "nodes[0].memory",
                "nodes[0].sandbox",
                "nodes[0].optimize",
                "nodes[0].code",
                "nodes[0].log_prompts",
            ),
            "config.observability.mlflow.async_logging",
            "config.observability.mlflow.log_artifacts",
        ]
    )


FAMILY = """\
schema_version: "1.0"
flow: {name: family}
state:
  fields:
    text: {type: str, required: true}
    whole: {type: object, default: null, schema: {bio: str, tags: "list[str]"}}
    later: {type: int}
nodes:
  - {id: one, prompt: "{text}", tools: [web_search], outputs: [whole], output_schema: {type: object, schema: {bio: str, tags: "list[str]"}}}
  - {id: two, prompt: "{whole}", outputs: [later], output_schema: {type: int}}
edges: [{from: START, to: one}, {from: one, to: two}]
config: {gates: [{name: g, metric: cost_usd_avg, threshold: 1}], mlflow: {enabled: true}}
"""


def test_tools_and_models_that_are_missing_are_warned_of_but_the_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(FAMILY, encoding="utf-8")
    warnings = " | ".join(read_workflow(path).warnings)
    assert "config.gates: has no effect here" in warnings
    assert "config.mlflow: has no effect here; write it under config.observability" in warnings
    assert "nodes[0].tools[0]: the tool 'web_search' is none of this runner's" in warnings
    assert "no model is set for one, two" in warnings


OLDER = """\
name: Research team
description: d
version: "1.0"
state:
  type: object
  properties:
    topic: {type: string, description: what to look for}
    agents: {type: array, items: {type: string}}
    findings: {type: object}
nodes:
  - name: plan
    llm: {provider: google, model: gemini-2.5-flash}
    prompt: Plan {topic} with {agents}
  - name: search
    llm: {provider: google, model: gemini-2.5-pro}
    tools: [web_search]
    cache: {enabled: true, ttl: 60}
    prompt: Search for {topic}
edges: [{from: plan, to: search}]
execution: {parallel_execution: true, timeout: 300}
observability: {mlflow: {enabled: true, experiment_name: team}}
"""


def test_the_layout_before_schema_versions_loads_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "older.yaml"
    path.write_text(OLDER, encoding="utf-8")
    checked = read_workflow(path)
    assert any(f"{path}:1: name: is an older layout" in warning for warning in checked.warnings)
    workflow = checked.plan.workflow
    assert [node.id for node in workflow.nodes] == ["plan", "search"]
    assert workflow.nodes[0].outputs == ["plan_output"]
    assert [(edge.from_, edge.to) for edge in workflow.edges] == [("START", "plan"), ("plan", "search")]
    assert workflow.config.execution.timeout == 300
    assert workflow.config.observability.mlflow is not None
    assert workflow.config.observability.mlflow.experiment_name == "team"
    assert str(workflow.state.fields["agents"].field_type) == "list"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (OLDER + "orchestration: {registry: true, peers: {skill: maps}, timeout: 9}\n", "orchestration"),
        (GOOD + "orchestration: {registry: true}\n", "orchestration"),
        (GOOD + "  orchestration: {registry: true}\n", "config.orchestration"),
    ],
)
def test_settings_for_a_registry_of_agents_have_no_effect_in_either_layout(
    tmp_path: Path, text: str, place: str
) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(text, encoding="utf-8")
    line = text.count("\n")
    warnings = read_workflow(path).warnings
    assert f"{path}:{line}: {place}: is not part of this runner and has no effect" in warnings


def test_what_no_node_of_the_older_layout_gives_stays_an_error(tmp_path: Path) -> None:
    text = OLDER.replace("Plan {topic} with {agents}", "Plan {topic} after {plan_results}")
    assert problems_of(tmp_path, text)[0].startswith(
        "13: nodes[0].prompt: nothing fills {plan_results}; did you mean 'plan_output'?"
    )


def test_a_mistake_in_the_older_layout_is_said_with_its_line(tmp_path: Path) -> None:
    assert problems_of(tmp_path, OLDER.replace("Search for {topic}", "Search for {topik}"))[0].startswith(
        "18: nodes[1].prompt: nothing fills {topik}; did you mean 'topic'?"
    )
