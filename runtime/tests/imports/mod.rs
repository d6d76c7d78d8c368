//! Reads the imports of a crate, and finds modules that reach each other by them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A room, the modules in it that reach each other, and why they may.
pub(crate) type Circle<'a> = (&'a str, &'a [&'a str], &'a str);

type Module = Vec<String>;

/// Asserts that the circles in a crate are those that are listed. `root` is the folder of its `lib.rs` or `main.rs`, and
/// has at least that many modules.
pub(crate) fn go_one_way(root: &Path, least: usize, listed: &[Circle<'_>]) {
    let mut files = BTreeMap::new();
    collect(root, &mut Vec::new(), &mut files);
    assert!(files.len() >= least, "only {} modules were found", files.len());
    let edges: BTreeSet<(Module, Module)> = files
        .iter()
        .flat_map(|(module, text)| targets(module, text, &files).into_iter().map(|to| (module.clone(), to)))
        .collect();
    let rooms: BTreeSet<Module> = files.keys().map(|module| module[..module.len() - 1].to_vec()).collect();
    let found: Vec<(String, Vec<String>)> = rooms.iter().flat_map(|room| circles(room, &edges)).collect();
    let listed: Vec<(String, Vec<String>)> = listed
        .iter()
        .map(|(room, modules, _)| ((*room).to_owned(), modules.iter().map(|&m| m.to_owned()).collect()))
        .collect();
    assert_eq!(found, listed, "modules that reach each other by their imports");
}

/// All files below a folder, as modules. Those of tests and of other programs are left out.
fn collect(folder: &Path, module: &mut Module, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name.contains("tests") {
            continue;
        }
        if path.is_dir() {
            if !path.join("main.rs").exists() {
                module.push(name);
                collect(&path, module, files);
                module.pop();
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut own = module.clone();
            if !matches!(name.as_str(), "mod" | "lib" | "main") {
                own.push(name);
            }
            if !own.is_empty() {
                files.insert(own, code(&fs::read_to_string(&path).expect("a text")));
            }
        }
    }
}

/// The code of a file, without comments and tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

/// The modules that a file names by `crate::` or `super::`.
fn targets(module: &Module, text: &str, files: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices("crate::").chain(text.match_indices("super::")) {
        let before = text[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            tree(&text[at..], Vec::new(), &mut paths);
        }
    }
    let mut found = BTreeSet::new();
    for path in paths {
        let supers = path.iter().take_while(|word| *word == "super").count();
        let around = if supers == 0 { &[] } else { &module[..module.len().saturating_sub(supers)] };
        let mut target: Module = around.iter().chain(&path[supers.max(1)..]).cloned().collect();
        while !target.is_empty() && !files.contains_key(&target) {
            target.pop();
        }
        if !target.is_empty() && target != *module {
            found.insert(target);
        }
    }
    found
}

/// The paths of a tree of imports, such as `crate::a::{b, c::d}`; gives how much of the text it is.
fn tree(text: &str, prefix: Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix;
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            while at < text.len() && !text[at..].starts_with('}') {
                if text[at..].starts_with([',', ' ']) {
                    at += 1;
                } else {
                    at += tree(&text[at..], path.clone(), paths).max(1);
                }
            }
            return at + 1;
        }
        let word: String = text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += word.len();
        path.push(word);
        if !text[at..].starts_with("::") {
            paths.push(path);
            return at;
        }
        at += 2;
    }
}

/// The circles among the modules that stand directly in a room, each with all below it.
fn circles(room: &Module, edges: &BTreeSet<(Module, Module)>) -> Vec<(String, Vec<String>)> {
    let depth = room.len();
    let member = |module: &Module| {
        (module.len() > depth && module.starts_with(room)).then(|| module[..=depth].to_vec())
    };
    let mut reached: BTreeSet<(Module, Module)> = edges
        .iter()
        .filter_map(|(from, to)| Some((member(from)?, member(to)?)))
        .filter(|(from, to)| from != to)
        .collect();
    loop {
        let more: Vec<_> = reached
            .iter()
            .flat_map(|(a, b)| {
                reached.iter().filter(move |(c, _)| b == c).map(move |(_, d)| (a.clone(), d.clone()))
            })
            .filter(|pair| !reached.contains(pair))
            .collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    let mut found: Vec<Vec<String>> = reached
        .iter()
        .filter(|(from, to)| from == to)
        .map(|(own, _)| {
            let circle = reached
                .iter()
                .filter(|(from, to)| from == own && reached.contains(&(to.clone(), own.clone())));
            let mut names: Vec<String> = circle.map(|(_, to)| to.join("::")).collect();
            names.sort();
            names
        })
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|names| (room.join("::"), names)).collect()
}
