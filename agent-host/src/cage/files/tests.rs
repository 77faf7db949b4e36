use super::*;

fn names(root: &Path, paths: &[PathBuf]) -> Vec<String> {
    let root = fs::canonicalize(root).unwrap();
    let mut names: Vec<_> = paths
        .iter()
        .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_is_taken_apart_around_what_is_hidden() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for folder in ["bin", "local/bin", "local/kennel/state", "local/kennel/bin"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    fs::write(path("readme"), "").unwrap();
    // A link around the fence.
    std::os::unix::fs::symlink(path("local/kennel/state"), path("link")).unwrap();

    let hidden = [path("local/kennel/state")];
    let allowed = around(root.path(), &hidden).unwrap();
    assert_eq!(
        names(root.path(), &allowed),
        ["bin", "local/bin", "local/kennel/bin", "readme"]
    );
    assert!(
        around(&path("local/kennel/state"), &hidden)
            .unwrap()
            .is_empty()
    );
    assert!(around(&path("link"), &hidden).unwrap().is_empty());
    // What the operator opens within a hidden folder is opened.
    fs::create_dir(path("local/kennel/state/shared")).unwrap();
    let inside = around(&path("local/kennel/state/shared"), &hidden).unwrap();
    assert_eq!(names(root.path(), &inside), ["local/kennel/state/shared"]);
    assert_eq!(
        names(root.path(), &around(&path("bin"), &[]).unwrap()),
        ["bin"]
    );
}

#[test]
fn what_holds_a_hidden_folder_is_known_by_any_name() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    fs::create_dir_all(path("home/config")).unwrap();
    std::os::unix::fs::symlink(path("home"), path("alias")).unwrap();
    let hidden = [path("home/config")];
    assert!(held(root.path(), &hidden).is_some());
    assert!(held(&path("alias"), &hidden).is_some());
    assert!(held(&path("home/config"), &hidden).is_some());
    assert!(held(&path("elsewhere"), &hidden).is_none());
}

#[test]
fn an_older_kernel_is_told_from_a_whole_cage() {
    let open = Network::Open;
    let ports = Network::Ports(vec![443, 8080]);
    let said = |verdict| match verdict {
        Ok(said) => ("done", said),
        Err(Trouble::Partly(said)) => ("partly", said),
        Err(Trouble::Short(said)) => ("short", said),
        Err(Trouble::Failed(said)) => ("failed", said),
    };
    assert_eq!(said(verdict(ABI::V7, &open, &[])), ("done", "ABI 7".into()));
    let (outcome, words) = said(verdict(ABI::V7, &ports, &[]));
    assert_eq!((outcome, &*words), ("done", "ABI 7; TCP to 443, 8080 only"));
    let (outcome, words) = said(verdict(ABI::V2, &open, &[]));
    assert_eq!(outcome, "partly");
    assert!(words.contains("signals and abstract sockets"), "{words}");
    let (outcome, words) = said(verdict(ABI::V2, &ports, &[]));
    assert_eq!(outcome, "short");
    assert!(words.contains("from ABI 4"), "{words}");
    // Without a network nothing is lacking: the system calls are closed as well.
    assert_eq!(said(verdict(ABI::V2, &Network::Closed, &[])).0, "partly");
    let (outcome, words) = said(verdict(ABI::V7, &open, &["/no/such".into()]));
    assert_eq!((outcome, &*words), ("partly", "ABI 7; not there: /no/such"));
}
