//! Words, and what they ask for.

use super::super::attributes::*;
use super::super::propagation::*;
use super::*;

fn of(options: &[&str]) -> MountOptions {
    parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>()).unwrap()
}

/// The parser recognises every listed word, and lists every word of that form that it recognises.
#[test]
fn the_listed_words_are_those_of_the_parser() {
    let own = |word: &str| {
        let mut parsed = MountOptions::default();
        parsed.mount_flag(word) || parsed.superblock_flag(word) || parsed.action(word)
    };
    for word in WORDS.into_iter().filter(|word| *word != "defaults") {
        assert!(own(word), "{word} is listed and not understood");
    }
    let stems = WORDS.iter().map(|word| word.trim_start_matches('r').trim_start_matches("no"));
    for stem in stems {
        for word in ["", "r", "no", "rno"].map(|prefix| format!("{prefix}{stem}")) {
            assert!(!own(&word) || WORDS.contains(&word.as_str()), "{word} is understood and not listed");
        }
    }
}

#[test]
fn every_flag_and_its_opposite() {
    use attr::*;
    for (on, off, flag) in [
        ("ro", "rw", RDONLY),
        ("nosuid", "suid", NOSUID),
        ("nodev", "dev", NODEV),
        ("noexec", "exec", NOEXEC),
        ("nodiratime", "diratime", NODIRATIME),
        ("nosymfollow", "symfollow", NOSYMFOLLOW),
    ] {
        for (options, set, clear) in
            [(vec![on], flag, 0), (vec![off], 0, flag), (vec![on, off], 0, flag), (vec![off, on], flag, 0)]
        {
            let plain = of(&options);
            assert_eq!((plain.mount.to_set(), plain.mount.to_clear()), (set, clear), "{options:?}");
            assert!(plain.recursive.is_empty() && plain.data.is_empty());
            let options: Vec<_> = options.iter().map(|word| format!("r{word}")).collect();
            let tree = of(&options.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((tree.recursive.to_set(), tree.recursive.to_clear()), (set, clear), "{options:?}");
            assert!(tree.mount.is_empty() && tree.data.is_empty() && tree.superblock == Flags::default());
        }
    }
}

#[test]
fn access_times_are_one_field() {
    use attr::*;
    for (options, set, clear) in [
        (&["noatime"][..], NOATIME, ATIME),
        (&["strictatime"], STRICTATIME, ATIME),
        (&["relatime"], RELATIME, ATIME),
        (&["atime"], RELATIME, ATIME),
        (&["nostrictatime"], RELATIME, ATIME),
        (&["norelatime"], 0, 0),
        (&["noatime", "atime"], RELATIME, ATIME),
        (&["strictatime", "atime"], STRICTATIME, ATIME),
        (&["strictatime", "nostrictatime"], RELATIME, ATIME),
        (&["noatime", "nostrictatime"], NOATIME, ATIME),
        (&["relatime", "norelatime"], 0, 0),
        (&["noatime", "norelatime"], NOATIME, ATIME),
        (&["noatime", "strictatime"], STRICTATIME, ATIME),
        (&["noatime", "nodiratime", "ro"], NOATIME | NODIRATIME | RDONLY, ATIME),
    ] {
        let mount = of(options).mount;
        assert_eq!((mount.to_set(), mount.to_clear()), (set, clear), "{options:?}");
    }
    assert_eq!(of(&["rnoatime"]).recursive.to_set(), NOATIME);
    for word in ["rrelatime", "rnorelatime", "ratime", "rstrictatime", "rnostrictatime"] {
        assert!(of(&[word]).data.is_empty(), "{word}");
    }
}

#[test]
fn superblock_flags() {
    use superblock::*;
    for (option, set, clear) in [
        ("ro", RDONLY, 0),
        ("rw", 0, RDONLY),
        ("sync", SYNCHRONOUS, 0),
        ("async", 0, SYNCHRONOUS),
        ("dirsync", DIRSYNC, 0),
        ("mand", MANDLOCK, 0),
        ("nomand", 0, MANDLOCK),
        ("lazytime", LAZYTIME, 0),
        ("nolazytime", 0, LAZYTIME),
        ("iversion", I_VERSION, 0),
        ("noiversion", 0, I_VERSION),
        ("silent", SILENT, 0),
        ("loud", 0, SILENT),
    ] {
        let options = of(&[option]);
        assert_eq!(options.superblock, Flags { set, clear }, "{option}");
        assert!(options.data.is_empty());
    }
}

#[test]
fn actions() {
    let options = of(&["rbind", "rprivate", "shared", "ridmap", "remount", "tmpcopyup"]);
    assert_eq!(options.bind, Some(Reach::Tree));
    assert_eq!(options.idmap, Some(Reach::Tree));
    assert!(options.remount && options.tmpcopyup && options.data.is_empty());
    assert_eq!(
        options.propagation,
        [
            Propagation { typ: PropagationType::Private, reach: Reach::Tree },
            Propagation { typ: PropagationType::Shared, reach: Reach::One }
        ]
    );
    assert_eq!(of(&["bind", "idmap"]).bind, Some(Reach::One));
    for word in ["private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable"] {
        assert_eq!(of(&[word]).propagation.len(), 1, "{word}");
    }
}

#[test]
fn fstab_words_do_not_reach_the_file_system() {
    for word in [
        "defaults",
        "auto",
        "noauto",
        "nouser",
        "_netdev",
        "nofail",
        "comment=hi",
        "x-systemd.automount",
        "X-mount.mkdir=0755",
        "",
    ] {
        assert_eq!(of(&[word]), MountOptions::default(), "{word}");
    }
    assert_eq!(of(&["user", "exec"]).mount.to_set(), attr::NOSUID | attr::NODEV);
    assert_eq!(of(&["owner"]).mount.to_set(), attr::NOSUID | attr::NODEV);
    assert_eq!(of(&["users"]).mount.to_set(), attr::NOSUID | attr::NODEV | attr::NOEXEC);
}

#[test]
fn the_rest_is_for_the_file_system() {
    let data = |options: &[&str]| of(options).data;
    let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(data(&["mode=755", "size=65536k"]), [pair("mode", Some("755")), pair("size", Some("65536k"))]);
    assert_eq!(data(&["nr_inodes=0,newinstance"]), [pair("nr_inodes", Some("0")), pair("newinstance", None)]);
    assert_eq!(
        data(&["lowerdir=/a\\,b:/c,x=y=z"]),
        [pair("lowerdir", Some("/a\\,b:/c")), pair("x", Some("y=z"))]
    );
    assert_eq!(
        data(&["context=\"u:r:t:s0:c1,c2\",uid=0"]),
        [pair("context", Some("u:r:t:s0:c1,c2")), pair("uid", Some("0"))]
    );
    assert_eq!(data(&["mode="]), [pair("mode", Some(""))]);
    // Words that only resemble ours.
    assert_eq!(data(&["errors=remount-ro", "r", "rr", "rro2", "ruser"]).len(), 5);
    assert_eq!(of(&["ro,nosuid"]).mount.to_set(), attr::RDONLY | attr::NOSUID);
}

#[test]
fn refused_words_are_named() {
    let parse = |options: &[&str]| parse(&options.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    for word in ["=x", "loop", "loop=/dev/loop0", "idmap=uids=0-1-2", "ridmap="] {
        let (index, message) = parse(&["ro", word]).unwrap_err();
        assert_eq!(index, 1, "{word}");
        assert!(!message.is_empty());
    }
}
