"""Makes JSON schemas for kubeconform, one file per kind, from descriptions of the API.

usage: kubernetes_schemas.py FOLDER FILE...

A file is Kubernetes' own swagger.json or a CustomResourceDefinition as JSON. The schemas are strict: a
field that the API does not have is an error, as kubectl's validation would say.
"""

import json
import sys
from pathlib import Path

REF = "#/definitions/"
INT_OR_STRING = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
# What the swagger file calls a string and the API takes as a number too.
LOOSE = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}


def strict(node):
    """The same schema, refusing unknown fields and without what JSON Schema does not know."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return INT_OR_STRING
    made = {
        key: strict(value)
        for key, value in node.items()
        if not key.startswith("x-kubernetes-") and key not in ("description", "format", "default")
        # a field may be called `description` or `default` itself
        or isinstance(value, dict)
    }
    fields = isinstance(made.get("properties"), dict) and made.get("type", "object") == "object"
    if fields and "additionalProperties" not in made and not node.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


def references(node):
    if isinstance(node, dict):
        target = node.get("$ref")
        if isinstance(target, str) and target.startswith(REF):
            yield target.removeprefix(REF)
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def write(folder, group, version, kind, schema):
    """Under the name that kubeconform looks for: kind, first word of the group, version."""
    schema["properties"]["apiVersion"] = {"const": f"{group}/{version}" if group else version}
    schema["properties"]["kind"] = {"const": kind}
    name = "-".join(part for part in (kind, group.split(".")[0], version) if part)
    (folder / f"{name.lower()}.json").write_text(json.dumps(schema))


def swagger(folder, document):
    definitions = {name: LOOSE.get(name) or strict(schema) for name, schema in document["definitions"].items()}
    for name, schema in document["definitions"].items():
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) != 1 or "properties" not in schema:
            continue
        needed, queue = {}, [name]
        while queue:
            one = queue.pop()
            if one not in needed:
                needed[one] = definitions[one]
                queue.extend(references(definitions[one]))
        own = json.loads(json.dumps(definitions[name]))
        needed.pop(name)
        own.setdefault("properties", {})
        own["definitions"] = needed
        write(folder, kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"], own)


def custom(folder, document):
    spec = document["spec"]
    for version in spec["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        # the API server knows what metadata is; the definition does not say
        schema["properties"]["metadata"] = {"type": "object"}
        write(folder, spec["group"], version["name"], spec["names"]["kind"], schema)


def main():
    folder, files = Path(sys.argv[1]), sys.argv[2:]
    for file in files:
        document = json.loads(Path(file).read_text())
        (swagger if "definitions" in document else custom)(folder, document)


main()
