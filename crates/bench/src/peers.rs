//! Other frameworks with an allow check: the programs of crates/peers, which are not part of this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::connect::Transport;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// rmcp-server-kit's hooks around the tool, on rmcp's own transport.
    KitHooks,
    /// rmcp-server-kit's HTTP server, without a check.
    KitServer,
    /// The same with an API key, its role policy and its hooks.
    KitGuarded,
    /// tower-mcp, without a check.
    TowerBare,
    /// The same with its guard layer around the tool.
    TowerGuard,
    /// The same with an API key besides.
    TowerKey,
}

impl Peer {
    const ALL: [Self; 6] =
        [Self::KitHooks, Self::KitServer, Self::KitGuarded, Self::TowerBare, Self::TowerGuard, Self::TowerKey];

    pub const fn name(self) -> &'static str {
        match self {
            Self::KitHooks => "rmcp-server-kit 3.1.3: hooks, role policy",
            Self::KitServer => "rmcp-server-kit 3.1.3: its server, answers as events, no check",
            Self::KitGuarded => "the same with API key (Argon2 on each request), role policy, hooks",
            Self::TowerBare => "tower-mcp 0.25: its server, no check",
            Self::TowerGuard => "the same with its guard layer",
            Self::TowerKey => "the same with its guard layer and API key",
        }
    }

    /// Its package and its form, as the program is told.
    const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::KitHooks => ("peer-kit", "hooks"),
            Self::KitServer => ("peer-kit", "server"),
            Self::KitGuarded => ("peer-kit", "guarded"),
            Self::TowerBare => ("peer-tower", "bare"),
            Self::TowerGuard => ("peer-tower", "guard"),
            Self::TowerKey => ("peer-tower", "key"),
        }
    }

    /// The same server without its check, where that is not rmcp's.
    pub const fn own_bare(self) -> Option<Self> {
        match self {
            Self::KitHooks => None,
            Self::KitServer | Self::KitGuarded => Some(Self::KitServer),
            Self::TowerBare | Self::TowerGuard | Self::TowerKey => Some(Self::TowerBare),
        }
    }

    /// Whether it prints the API key that it wants before anything else.
    pub const fn has_key(self) -> bool {
        matches!(self, Self::KitGuarded | Self::TowerKey)
    }

    /// Those that serve over `transport`.
    pub fn over(transport: Transport) -> impl Iterator<Item = Self> {
        let stdio = |peer: &Self| matches!(peer, Self::KitHooks | Self::TowerBare | Self::TowerGuard);
        Self::ALL.into_iter().filter(move |peer| transport == Transport::HttpJson2026 || stdio(peer))
    }

    /// Starts it, once [`build`] has made it.
    pub fn command(self, transport: Transport) -> Command {
        let (package, form) = self.program();
        let programs = BUILT.get().unwrap().as_ref().unwrap();
        let program = programs.iter().find(|program| program.file_stem().is_some_and(|stem| stem == package)).unwrap();
        let mut command = Command::new(program);
        command.arg(form).arg(format!("{transport:?}"));
        command
    }
}

static BUILT: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();

/// Has cargo make the programs.
///
/// # Errors
/// What cargo said last: no registry, or a compiler that is too old for them.
pub fn build() -> Result<(), String> {
    BUILT.get_or_init(build_now).as_ref().map(drop).map_err(Clone::clone)
}

fn build_now() -> Result<Vec<PathBuf>, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers");
    let mut programs = Vec::new();
    // one after the other: built together, each would get the features that the other one wants of a crate
    for package in ["peer-kit", "peer-tower"] {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--release", "--locked", "--message-format=json-render-diagnostics", "-p", package]);
        let output = cargo.current_dir(&workspace).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(said.lines().rfind(|line| line.starts_with("error")).unwrap_or("cargo failed").to_owned());
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let executable = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(PathBuf::from)
        };
        programs.extend(messages.lines().filter_map(executable));
    }
    Ok(programs)
}
