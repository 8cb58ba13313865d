//! What the generator refuses, and the document it writes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use mediamesh_transcode::{Error, Generator};
use mediamesh_transcode_testapi::{DESCRIPTOR_SET, OPENAPI};
use serde_json::{Value, json};

/// Compiles a service whose methods are given, with two messages to use.
fn generate(methods: &str) -> Result<String, Error> {
    struct Memory(String);
    impl protox::file::FileResolver for Memory {
        fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
            if name == "t.proto" {
                return protox::file::File::from_source(name, &self.0);
            }
            Err(protox::Error::file_not_found(name))
        }
    }
    let source = format!(
        "syntax = \"proto3\"; package t.v1; import \"google/api/annotations.proto\";\n\
         service Things {{ {methods} }}\n\
         message Req {{ string id = 1; repeated string tags = 2; Inner inner = 3; Kind kind = 4; }}\n\
         message Inner {{ string name = 1; }}\n\
         message Res {{ Inner inner = 1; Kind kind = 2; int64 big = 3; }}\n\
         enum Kind {{ KIND_UNSPECIFIED = 0; }}"
    );
    let google = concat!(env!("CARGO_MANIFEST_DIR"), "/../../third_party/proto");
    let mut resolver = protox::file::ChainFileResolver::new();
    resolver.add(Memory(source));
    resolver.add(protox::file::IncludeFileResolver::new(google.into()));
    resolver.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file("t.proto").unwrap();
    let set = compiler.encode_file_descriptor_set();
    Generator::new(&set).generate().map(|output| output.rust)
}

fn rpc(rule: &str) -> String {
    format!("rpc Do(Req) returns (Res) {{ option (google.api.http) = {{ {rule} }}; }}")
}

#[test]
fn client_streams_cannot_be_annotated() {
    let rule = r#"{ option (google.api.http) = { post: "/v1/x" body: "*" }; }"#;
    for shape in [
        "(stream Req) returns (Res)",
        "(stream Req) returns (stream Res)",
    ] {
        let error = generate(&format!("rpc Do{shape} {rule}")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("t.v1.Things.Do: client-streaming"),
            "{error}"
        );
    }
}

#[test]
fn annotations_that_do_not_fit_are_refused_with_the_method() {
    for (rule, expected) in [
        (r#"get: "/v1/{nothing}""#, "there is no field \"nothing\""),
        (r#"get: "/v1/{tags}""#, "is repeated"),
        (r#"get: "/v1/{inner}""#, "is a message"),
        (r#"get: "/v1/{id}/{id}""#, "appears twice"),
        (r#"get: "v1""#, "does not start with /"),
        (
            r#"post: "/v1" body: "nothing""#,
            "body \"nothing\" is not a field",
        ),
        (
            r#"get: "/v1" response_body: "nothing""#,
            "response_body \"nothing\" is not a field",
        ),
        (
            r#"get: "/v1" response_body: "kind""#,
            "wrap it in a message",
        ),
        (r#"get: "/v1" response_body: "big""#, "wrap it in a message"),
        (r#"body: "*""#, "names no HTTP method"),
    ] {
        let error = generate(&rpc(rule)).unwrap_err().to_string();
        assert!(
            error.starts_with("t.v1.Things.Do: ") && error.contains(expected),
            "{error}"
        );
    }
    assert!(matches!(
        generate("rpc Do(Req) returns (Res);"),
        Err(Error::NoAnnotations)
    ));
}

#[test]
fn bindings_that_answer_the_same_request_are_refused() {
    let twice = r#"get: "/v1/{id}" additional_bindings { get: "/v1/{inner.name}" }"#;
    assert!(matches!(
        generate(&rpc(twice)),
        Err(Error::Duplicate { .. })
    ));
    let clash = r#"get: "/v1/{id}" additional_bindings { get: "/v1/{id=**}" }"#;
    assert!(matches!(generate(&rpc(clash)), Err(Error::Route { .. })));
    let verbs = r#"get: "/v1/{id}" additional_bindings { get: "/v1/{id}:look" }"#;
    assert!(generate(&rpc(verbs)).is_ok());
}

#[test]
fn custom_http_methods_are_kept() {
    let rust = generate(&rpc(r#"custom { kind: "PURGE" path: "/v1/{id}" }"#)).unwrap();
    assert!(rust.contains(r#"method: "PURGE""#), "{rust}");
}

#[test]
fn both_outputs_are_the_same_every_time() {
    let first = Generator::new(DESCRIPTOR_SET).generate().unwrap();
    let second = Generator::new(DESCRIPTOR_SET).generate().unwrap();
    assert_eq!(first.rust, second.rust);
    assert_eq!(first.openapi_json, second.openapi_json);
}

#[test]
fn a_merged_document_may_add_but_not_contradict() {
    let add = json!({ "paths": { "/v1/books": { "get": { "operationId": "mine" } } } });
    let error = Generator::new(DESCRIPTOR_SET)
        .merge_openapi(add)
        .generate()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "merged OpenAPI redefines /paths/~1v1~1books/get/operationId"
    );
}

fn openapi() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_document_is_sound() {
    let document = openapi();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["info"],
        json!({ "title": "library", "version": "1.2.3" })
    );
    let mut ids = BTreeSet::new();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/'), "{path}");
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let in_path: BTreeSet<String> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            let in_template: BTreeSet<String> = path
                .split('{')
                .skip(1)
                .map(|rest| rest.split('}').next().unwrap().to_owned())
                .collect();
            if path != "/v1/books/{id}/cover" {
                assert_eq!(in_path, in_template, "{method} {path}");
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
                assert!(
                    operation["responses"]["200"]["content"].is_object(),
                    "{path}"
                );
                assert_eq!(
                    operation["responses"]["default"]["$ref"],
                    "#/components/responses/Problem"
                );
            }
            assert!(
                parameters
                    .iter()
                    .all(|parameter| parameter["schema"].is_object())
            );
        }
    }
    assert_eq!((operations, ids.len()), (13, 12));
    every_reference_resolves(&document, &document);
}

fn every_reference_resolves(value: &Value, document: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                let found = document.pointer(pointer);
                assert!(found.is_some_and(Value::is_object), "{reference}");
            }
            members
                .values()
                .for_each(|member| every_reference_resolves(member, document));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| every_reference_resolves(item, document)),
        _ => {}
    }
}

#[test]
fn schemas_say_what_pbjson_reads_and_writes() {
    let document = openapi();
    let book = &document["components"]["schemas"]["library.v1.Book"];
    assert_eq!(book["description"], "Book is one book.");
    assert_eq!(book["required"], json!(["title"]));
    let properties = &book["properties"];
    assert_eq!(
        properties["sizeBytes"],
        json!({ "type": "string", "format": "int64", "description": "Size of the scan, in bytes." })
    );
    assert_eq!(properties["id"]["readOnly"], true);
    assert_eq!(
        properties["createTime"],
        json!({ "type": "string", "format": "date-time" })
    );
    assert_eq!(properties["playingTime"]["format"], "google-duration");
    assert_eq!(
        properties["sequels"]["items"]["$ref"],
        "#/components/schemas/library.v1.Book"
    );
    assert_eq!(
        properties["labels"]["additionalProperties"],
        json!({ "type": "string" })
    );
    let genre = &document["components"]["schemas"]["library.v1.Genre"];
    assert_eq!(
        genre["enum"],
        json!(["GENRE_UNSPECIFIED", "GENRE_FICTION", "GENRE_SCIENCE"])
    );
    assert_eq!(
        genre["description"],
        "Genre of a book. New values may be added.\n- `GENRE_FICTION`: Invented."
    );
}

#[test]
fn what_every_answer_holds_is_required_and_what_clients_may_leave_out_is_not() {
    let references = json!({ "paths": { "/by/hand": { "get": { "responses": { "200": {
        "$ref": "#/components/schemas/library.v1.ReindexResponse"
    } } } } } });
    let output = Generator::new(DESCRIPTOR_SET)
        .merge_openapi(references)
        .emits_all_fields()
        .generate()
        .unwrap();
    let document: Value = serde_json::from_str(&output.openapi_json).unwrap();
    let required = |name: &str| document["components"]["schemas"][name]["required"].clone();
    assert_eq!(required("library.v1.WatchBooksResponse"), json!(["number"]));
    // a book is sent as well: only what the server alone sets is sure to be there
    assert_eq!(required("library.v1.Book"), json!(["id", "title"]));
    assert_eq!(
        required("library.v1.SearchBooksResponse"),
        json!(["results"])
    );
    every_reference_resolves(&document, &document);
}

#[test]
fn one_path_with_two_names_is_one_path_item() {
    let document = openapi();
    let item = &document["paths"]["/v1/books/{book_id}"];
    assert!(
        item["get"].is_object() && item["patch"].is_object(),
        "{item}"
    );
    assert_eq!(item["patch"]["parameters"][0]["name"], "book_id");
    assert!(document["paths"].get("/v1/books/{book.id}").is_none());
    let condition = json!("If-Match");
    let parameters = item["patch"]["parameters"].as_array().unwrap();
    assert!(
        parameters
            .iter()
            .any(|parameter| parameter["name"] == condition)
    );
    assert!(item["patch"]["responses"]["412"].is_object());
}

#[test]
fn operations_carry_the_comments_of_their_methods() {
    let document = openapi();
    let get = &document["paths"]["/v1/books/{book_id}"]["get"];
    assert_eq!(get["operationId"], "LibraryService_GetBook");
    assert_eq!(get["summary"], "GetBook returns one book");
    assert_eq!(get["tags"], json!(["LibraryService"]));
    assert_eq!(get["parameters"][0]["description"], "Id of the book.");
    assert_eq!(
        get["responses"]["404"]["description"],
        "- NOT_FOUND (ERROR_REASON_BOOK_NOT_FOUND): no such book, or it was lent out."
    );
    let schema = &get["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/library.v1.Book");
    let watch = &document["paths"]["/v1/books:watch"]["get"]["responses"]["200"]["content"];
    assert!(watch["application/x-ndjson"].is_object() && watch["text/event-stream"].is_object());
    // what the path says is not asked for again in the body
    let lend = &document["paths"]["/v1/books/{book_id}:lend"]["post"]["requestBody"];
    let body = &lend["content"]["application/json"]["schema"];
    assert_eq!(body["required"], json!(["reader"]));
    assert!(body["properties"].get("bookId").is_none());
    assert!(document["paths"]["/v1/shelves/{book_id}/books/{book_id_2}"].is_object());
}
