//! How a node is called in the tree.
//!
//! A directory shows a node's own files and its children beside each other, and XenStore
//! lets a child be called `value`. No node's name has a dot, so a child with the name of a
//! file is shown with one: `value.node`. The rule is the same in every directory, whatever
//! files that one has, so that a path means the same wherever it is used.

use std::borrow::Cow;

/// Names that are files here, somewhere.
const TAKEN: [&str; 5] = ["value", "perms", "watch", "txn", "ctl"];
const NODE: &str = ".node";

/// What a child is shown as.
pub(crate) fn shown(name: &str) -> Cow<'_, str> {
    if TAKEN.contains(&name) { format!("{name}{NODE}").into() } else { name.into() }
}

/// Which child is shown as that. Nothing where no child can be.
pub(crate) fn child(shown: &str) -> Option<&str> {
    match shown.strip_suffix(NODE) {
        Some(name) => TAKEN.contains(&name).then_some(name),
        None if TAKEN.contains(&shown) => None,
        None => atoll_xen::store::check_name(shown).is_ok().then_some(shown),
    }
}

/// A node's path with one more name.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path == "/" { format!("/{name}") } else { format!("{path}/{name}") }
}

/// The path of the node above; nothing above `/`.
pub(crate) fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (above, _) => Some(above),
    }
}

/// What a node below a root is shown as, from the root on; nothing for one that is not
/// below it.
pub(crate) fn path_below(root: &str, path: &str) -> Option<String> {
    let below = match root {
        "/" => path.strip_prefix('/')?,
        _ => match path.strip_prefix(root)? {
            "" => "",
            rest => rest.strip_prefix('/')?,
        },
    };
    if below.is_empty() {
        return Some("/".into());
    }
    Some(below.split('/').fold(String::new(), |out, name| out + "/" + &shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_one_name_and_no_file_has_a_nodes() {
        for name in ["a", "A-b_c@1", "value", "perms", "watch", "txn", "ctl", "node", "values"] {
            let shown = shown(name);
            assert_eq!(child(&shown), Some(name));
            assert_eq!(shown != name, TAKEN.contains(&name));
        }
        for none in ["value", "ctl", "a.node", "value.node.node", ".node", "", "a b", "a.b", "é"] {
            assert_eq!(child(none), None, "{none}");
        }
    }

    #[test]
    fn paths_are_told_from_the_root_on() {
        for (root, path, want) in [
            ("/", "/", Some("/")),
            ("/", "/a/value", Some("/a/value.node")),
            ("/a", "/a", Some("/")),
            ("/a", "/a/b/txn", Some("/b/txn.node")),
            ("/a", "/ab", None),
            ("/a", "/", None),
            ("/", "@releaseDomain", None),
        ] {
            assert_eq!(path_below(root, path).as_deref(), want, "{root} {path}");
        }
        assert_eq!([parent("/"), parent("/a"), parent("/a/b")], [None, Some("/"), Some("/a")]);
        assert_eq!([join("/", "a"), join("/a", "b")], ["/a", "/a/b"]);
    }
}
