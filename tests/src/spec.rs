//! `api-spec.yaml` as data: what the routers, and the document's own tests, are compared with.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};

/// The document.
#[derive(Debug)]
pub struct Spec {
    document: Value,
}

/// Which binary answers an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The gateway, by itself.
    Gateway,
    /// core-api, behind the gateway's proxy.
    CoreApi,
}

/// One operation.
#[derive(Debug)]
pub struct Operation<'a> {
    /// Its method.
    pub method: Method,
    /// Its path, parameters in braces: `/concerts/{concertId}`.
    pub path: &'a str,
    /// Who answers it. More than one only where each answers for itself.
    pub served_by: Vec<Service>,
    /// What the document says of it.
    pub object: &'a Value,
    /// What the document says of its path.
    pub path_item: &'a Value,
}

impl Spec {
    /// Reads the project's `api-spec.yaml`.
    pub fn load() -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api-spec.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{} is not readable", path.display()))?;
        let document = serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))?;
        Ok(Self { document })
    }

    /// The document as a whole.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// All operations, in the document's order of paths.
    pub fn operations(&self) -> anyhow::Result<Vec<Operation<'_>>> {
        let paths = self.document["paths"].as_object().context("`paths` is no object")?;
        let mut operations = Vec::new();
        for (path, path_item) in paths {
            for (key, object) in path_item.as_object().with_context(|| format!("{path} is no object"))? {
                // A path item also holds what all its operations share.
                if matches!(key.as_str(), "parameters" | "summary" | "description" | "servers") {
                    continue;
                }
                let method: Method = key.to_uppercase().parse().with_context(|| format!("{path}: method {key}"))?;
                let served_by =
                    services(&object["x-served-by"]).with_context(|| format!("x-served-by of {method} {path}"))?;
                operations.push(Operation { method, path, served_by, object, path_item });
            }
        }
        Ok(operations)
    }

    /// `(method, path, who answers it)`, sorted: one entry for each service that has the route.
    pub fn routes(&self) -> anyhow::Result<Vec<(String, String, Service)>> {
        let mut routes: Vec<_> = self
            .operations()?
            .iter()
            .flat_map(|operation| {
                operation
                    .served_by
                    .iter()
                    .map(|service| (operation.method.to_string(), operation.path.to_owned(), *service))
            })
            .collect();
        routes.sort();
        Ok(routes)
    }

    /// Checks values against `schema`; no field may stand in them, at any depth, that the schema does not name.
    pub fn validator(&self, schema: &Value) -> anyhow::Result<Validator> {
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "unevaluatedProperties": false,
            "components": { "schemas": self.document["components"]["schemas"] },
        });
        close_what_is_inside(&mut schema);
        jsonschema::options().should_validate_formats(true).build(&schema).context("that is no schema")
    }

    /// Fails, with all that is wrong, unless `value` is what the schema `name` of the components says.
    pub fn check(&self, name: &str, value: &Value) -> anyhow::Result<()> {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        let faults = faults(&self.validator(&schema)?, value);
        ensure!(faults.is_empty(), "this is no {name}: {value}\n{}", faults.join("\n"));
        Ok(())
    }

    /// What a node stands for: itself, or where its `$ref` leads within the document.
    pub fn resolve<'a>(&'a self, node: &'a Value) -> anyhow::Result<&'a Value> {
        let mut node = node;
        // A chain of references is short; one longer than this is a circle.
        for _ in 0..8 {
            let Some(reference) = node.get("$ref").and_then(Value::as_str) else { return Ok(node) };
            let pointer = reference.strip_prefix('#').with_context(|| format!("{reference} leads elsewhere"))?;
            node = self.document.pointer(pointer).with_context(|| format!("{reference} leads nowhere"))?;
        }
        bail!("a $ref leads in a circle: {node}")
    }
}

/// Lets no field stand in a property or an entry that its schema does not name. Parts of an `allOf` stay open: each
/// names some of the fields.
fn close_what_is_inside(node: &mut Value) {
    match node {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.values_mut().for_each(close);
            }
            if let Some(items) = map.get_mut("items") {
                close(items);
            }
            map.values_mut().for_each(close_what_is_inside);
        }
        Value::Array(all) => all.iter_mut().for_each(close_what_is_inside),
        _ => {}
    }
}

fn close(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    // `{}` is anything.
    if ["$ref", "properties", "allOf", "anyOf", "oneOf"].iter().any(|keyword| schema.contains_key(*keyword)) {
        schema.insert("unevaluatedProperties".to_owned(), false.into());
    }
}

/// What of `value` does not fit, one message for each fault.
pub fn faults(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// `x-served-by`: one name, or a list of them.
fn services(value: &Value) -> anyhow::Result<Vec<Service>> {
    match value {
        Value::String(name) => Ok(vec![service(name)?]),
        Value::Array(names) => names.iter().map(|name| service(name.as_str().unwrap_or_default())).collect(),
        _ => bail!("is missing"),
    }
}

fn service(name: &str) -> anyhow::Result<Service> {
    match name {
        "gateway" => Ok(Service::Gateway),
        "core-api" => Ok(Service::CoreApi),
        _ => bail!("names {name:?}, which is no service"),
    }
}
