//! Checks that an answer is what the OpenAPI description says (API-80): as much of JSON Schema as that text uses.

use std::sync::LazyLock;

use serde_json::Value;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(tandem_api::openapi_text()).unwrap());

/// Stops the test unless the description knows this answer.
pub(crate) fn check(method: &str, path: &str, status: u16, media: &str, body: &str) {
    let path = path.split('?').next().unwrap();
    let Some((template, item)) = DESCRIPTION["paths"].as_object().unwrap().iter().find(|(t, _)| fits(t, path)) else {
        assert_eq!(status, 404, "{path} is not described");
        return;
    };
    // HEAD is GET without the body (RFC 9110 9.3.2).
    if method == "HEAD" {
        assert!(item["get"]["responses"][status.to_string()].is_object() && body.is_empty(), "HEAD {template}");
        return;
    }
    let operation = &item[method.to_lowercase()];
    if operation.is_null() {
        assert_eq!(status, 405, "{method} {template} is not described");
        return;
    }
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {template}: {status} is not described: {body}");
    let Some(content) = response["content"].as_object() else {
        assert_eq!(body, "", "{method} {template}: {status} has no body");
        return;
    };
    let schema = &content.get(media).unwrap_or_else(|| panic!("{method} {template} {status}: {media}"))["schema"];
    let value = if media.ends_with("json") { serde_json::from_str(body).unwrap() } else { Value::from(body) };
    if let Err(fault) = valid(&value, schema, true) {
        panic!("{method} {template} {status}: {fault}\n{body}");
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(t, p)| t == p || (t.starts_with('{') && !p.is_empty()))
}

/// `whole`: members that the schema does not name are faults. Stricter than JSON Schema: what we send is described.
fn valid(value: &Value, schema: &Value, whole: bool) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = DESCRIPTION.pointer(reference.strip_prefix('#').unwrap()).expect(reference);
        return valid(value, target, whole);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        valid(value, part, false)?;
    }
    if let Some(choices) = schema["oneOf"].as_array()
        && choices.iter().filter(|choice| valid(value, choice, whole).is_ok()).count() != 1
    {
        return Err(format!("{value} fits not exactly one of {choices:?}"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let fits = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    };
    if !kinds.is_empty() && !kinds.iter().any(fits) {
        return Err(format!("{value} is no {kinds:?}"));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        return Err(format!("{value} is none of {choices:?}"));
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema["minimum"].as_f64())
        && number < least
    {
        return Err(format!("{number} is below {least}"));
    }
    for item in value.as_array().into_iter().flatten() {
        valid(item, &schema["items"], whole)?;
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return Err(format!("{name} is missing"));
            }
        }
        for (name, member) in object {
            match schema["properties"].get(name) {
                Some(property) => valid(member, property, whole).map_err(|fault| format!("{name}: {fault}"))?,
                None if whole && schema["properties"].is_object() => {
                    return Err(format!("{name} is not described"));
                }
                None => {}
            }
        }
    }
    Ok(())
}
