//! Makes a valid document readable for the spec's Rust types, and turns a value of these types into a valid document.
//!
//! oci-spec 0.10 knows two scheduler flags under names other than the spec's, refuses an empty CPU list and a huge-page
//! limit above `i64::MAX`, fails as a whole on one unknown capability, accepts capability names that the spec does not
//! have, reads `"pids": {}` as a limit of 0, and wants a user in every process. This code runs only for documents with
//! one of these.

use serde_json::Value;

use super::schema::{CAPABILITY_NAMES, EXEC_AFFINITY, HUGEPAGE_LIMIT, SCHEDULER_FLAGS};
use super::shape::{Need, Object, Shape};

/// (the spec's word, oci-spec's word)
const RESPELLED: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// Rewrites a document that the scan found valid into one that the types accept.
pub(crate) fn for_types(value: &mut Value, object: &Object) {
    repair_object(value, object);
}

/// Gives the scheduler flags in a serialized `process` the spec's names.
pub(crate) fn from_types(process: &mut Value) {
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        if let Some((word, _)) = RESPELLED.iter().find(|(_, typed)| flag == typed) {
            *flag = Value::from(*word);
        }
    }
}

fn repair(value: &mut Value, shape: &Shape) -> Keep {
    match shape {
        Shape::Object(object) => return repair_object(value, object),
        Shape::Map(member) => {
            if let Value::Object(members) = value {
                for value in members.values_mut() {
                    repair(value, member);
                }
            }
        }
        Shape::List(element) => {
            if let Value::Array(elements) = value {
                if matches!(element, Shape::Capability) {
                    elements
                        .retain(|name| name.as_str().is_some_and(|name| CAPABILITY_NAMES.contains(&name)));
                }
                for value in elements {
                    repair(value, element);
                }
            }
        }
        Shape::Word(words) if *words == SCHEDULER_FLAGS => {
            if let Some((_, typed)) = RESPELLED.iter().find(|(word, _)| value == word) {
                *value = Value::from(*typed);
            }
        }
        _ => {}
    }
    Keep::Yes
}

#[derive(PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

fn repair_object(value: &mut Value, object: &Object) -> Keep {
    let Value::Object(members) = value else { return Keep::Yes };
    // Unknown properties go too: oci-spec gives a type to two that the spec never had.
    members.retain(|name, value| {
        let field = object.fields.iter().find(|field| field.name == name);
        let blank = value.as_str() == Some("")
            && field.is_some_and(|field| {
                matches!(field.shape, Shape::Word(_) | Shape::NamedWord(..) | Shape::TextOrNone)
            });
        !value.is_null() && !blank && field.is_some_and(|field| repair(value, &field.shape) == Keep::Yes)
    });
    if std::ptr::eq(object, &raw const EXEC_AFFINITY) {
        for list in members.values_mut() {
            if let Value::String(list) = list {
                list.retain(|c| !c.is_ascii_whitespace());
            }
        }
        members.retain(|_, list| list != "");
    }
    if std::ptr::eq(object, &raw const HUGEPAGE_LIMIT)
        && let Some(limit) = members.get_mut("limit")
        && limit.as_u64().is_some_and(|limit| i64::try_from(limit).is_err())
    {
        // The kernel's own "no limit" is i64::MAX rounded down to a page, so nothing above it says more.
        *limit = Value::from(i64::MAX);
    }
    for field in object.fields {
        if let Need::ElseAssume(json) = field.need
            && !members.contains_key(field.name)
            && let Ok(value) = serde_json::from_str(json)
        {
            members.insert(field.name.to_owned(), value);
        }
    }
    let lost = object
        .fields
        .iter()
        .any(|field| matches!(field.need, Need::ElseDrop) && !members.contains_key(field.name));
    if lost { Keep::No } else { Keep::Yes }
}
