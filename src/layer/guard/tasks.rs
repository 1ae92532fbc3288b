//! Who owns which task: one bounded table, shared by every clone of the layer.
//!
//! rmcp answers `tasks/get` to whoever knows the id, so the guard binds each id to the caller whose call created the
//! task. INVARIANT: the owner and tool of an entry never change; an id is bound at most once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::enforce::Owner;
use crate::layer::session::SessionKey;

/// Live tasks of one owner. A model that plans in parallel has a handful; a caller that needs more waits for one to end.
pub const MAX_TASKS_PER_OWNER: usize = 64;

/// Tasks bound at once, ended ones that may still be read among them. Some 300 bytes each, so 5 MB when full.
pub const MAX_TASKS: usize = 16_384;

/// The share of [`MAX_TASKS`] that anonymous sessions may hold, so that strangers cannot crowd out known callers.
pub const MAX_ANONYMOUS_TASKS: usize = 2_048;

/// Bytes of a task id that a handler may hand out. UUIDs have 36; 256 leaves room for signed ids.
pub const MAX_TASK_ID_BYTES: usize = 256;

/// Who may get, update and cancel a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TaskOwner {
    /// An authenticated principal, over any connection.
    Principal(Owner),
    /// Whoever is anonymous in this session, as long as nobody owns it.
    Session(SessionKey),
}

/// Why an id was not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindError {
    /// The id is empty, too long, or bound already: handing it out again would give one caller the other's task.
    Id,
    /// The owner, or everybody together, holds too many.
    Full,
}

#[derive(Debug)]
struct Task {
    owner: TaskOwner,
    tool: Arc<str>,
    bound: Instant,
    /// When the handler may discard the task; `None` for never.
    expires: Option<Instant>,
    ended: bool,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct TaskTable {
    tasks: Mutex<HashMap<String, Task>>,
}

impl TaskTable {
    /// Binds a new task to its owner. `ttl` counts from now.
    pub(crate) fn bind(
        &self,
        id: &str,
        owner: TaskOwner,
        tool: Arc<str>,
        ttl: Option<Duration>,
    ) -> Result<(), BindError> {
        if id.is_empty() || id.len() > MAX_TASK_ID_BYTES {
            return Err(BindError::Id);
        }
        let now = Instant::now();
        let mut tasks = self.lock();
        if !has_room(&tasks, &owner) {
            tasks.retain(|_, task| task.expires.is_none_or(|at| at > now));
            if tasks.len() >= MAX_TASKS {
                forget_oldest_ended(&mut tasks);
            }
            if !has_room(&tasks, &owner) {
                return Err(BindError::Full);
            }
        }
        match tasks.entry(id.to_owned()) {
            Entry::Occupied(_) => Err(BindError::Id),
            Entry::Vacant(entry) => {
                entry.insert(Task { owner, tool, bound: now, expires: after(now, ttl), ended: false });
                Ok(())
            }
        }
    }

    /// The tool that created `id`, if `caller` owns it.
    pub(crate) fn tool_of(&self, id: &str, caller: Option<&TaskOwner>) -> Option<Arc<str>> {
        let tasks = self.lock();
        let task = tasks.get(id)?;
        (Some(&task.owner) == caller).then(|| Arc::clone(&task.tool))
    }

    /// Takes over a time to live that the handler has changed; it counts from the task's creation.
    pub(crate) fn renew(&self, id: &str, ttl: Option<Duration>) {
        if let Some(task) = self.lock().get_mut(id) {
            task.expires = after(task.bound, ttl);
        }
    }

    /// Marks a task as ended, which frees its place; its owner may still read it. `true` the first time.
    pub(crate) fn end(&self, id: &str) -> bool {
        self.lock().get_mut(id).is_some_and(|task| !std::mem::replace(&mut task.ended, true))
    }

    /// Takes back [`end`](Self::end): the end could not be recorded, and the next who asks tries again.
    pub(crate) fn reopen(&self, id: &str) {
        if let Some(task) = self.lock().get_mut(id) {
            task.ended = false;
        }
    }

    /// Forgets a task whose id was never handed out.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Task>> {
        // Nothing panics under the lock, and an entry is never half-written: a poisoned table is a whole one.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(start: Instant, ttl: Option<Duration>) -> Option<Instant> {
    // A time too far to represent never comes.
    ttl.and_then(|ttl| start.checked_add(ttl))
}

/// One pass over at most [`MAX_TASKS`] entries, only when a task is created.
fn has_room(tasks: &HashMap<String, Task>, owner: &TaskOwner) -> bool {
    let live_of_owner = tasks.values().filter(|task| !task.ended && task.owner == *owner).count();
    let anonymous = || tasks.values().filter(|task| matches!(task.owner, TaskOwner::Session(_))).count();
    tasks.len() < MAX_TASKS
        && live_of_owner < MAX_TASKS_PER_OWNER
        && match owner {
            TaskOwner::Principal(_) => true,
            TaskOwner::Session(_) => anonymous() < MAX_ANONYMOUS_TASKS,
        }
}

fn forget_oldest_ended(tasks: &mut HashMap<String, Task>) {
    let oldest = tasks.iter().filter(|(_, task)| task.ended).min_by_key(|(_, task)| task.bound);
    if let Some(id) = oldest.map(|(id, _)| id.clone()) {
        tasks.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(name: &str) -> TaskOwner {
        TaskOwner::Principal(Owner::ApiKey { name: name.to_owned() })
    }

    fn bind(table: &TaskTable, id: &str, owner: &TaskOwner) -> Result<(), BindError> {
        table.bind(id, owner.clone(), Arc::from("slow"), None)
    }

    #[test]
    fn an_id_is_bound_once() {
        let table = TaskTable::default();
        assert_eq!(bind(&table, "t", &principal("a")), Ok(()));
        assert_eq!(bind(&table, "t", &principal("b")), Err(BindError::Id));
        assert_eq!(bind(&table, "t", &principal("a")), Err(BindError::Id));
        assert_eq!(table.tool_of("t", Some(&principal("a"))).as_deref(), Some("slow"));
        assert_eq!(table.tool_of("t", Some(&principal("b"))), None);
        assert_eq!(table.tool_of("t", None), None);
    }

    #[test]
    fn ids_are_bounded() {
        let table = TaskTable::default();
        assert_eq!(bind(&table, "", &principal("a")), Err(BindError::Id));
        assert_eq!(bind(&table, &"x".repeat(MAX_TASK_ID_BYTES + 1), &principal("a")), Err(BindError::Id));
        assert_eq!(bind(&table, &"x".repeat(MAX_TASK_ID_BYTES), &principal("a")), Ok(()));
    }

    #[test]
    fn an_owner_holds_a_bounded_number_and_others_are_not_affected() {
        let table = TaskTable::default();
        for n in 0..MAX_TASKS_PER_OWNER {
            assert_eq!(bind(&table, &format!("t{n}"), &principal("a")), Ok(()));
        }
        assert_eq!(bind(&table, "more", &principal("a")), Err(BindError::Full));
        assert_eq!(bind(&table, "other", &principal("b")), Ok(()));
        assert!(table.end("t0") && !table.end("t0"));
        assert_eq!(bind(&table, "more", &principal("a")), Ok(()));
        assert!(table.tool_of("t0", Some(&principal("a"))).is_some(), "an ended task can still be read");
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_task_gives_its_place_back() {
        let table = TaskTable::default();
        for n in 0..MAX_TASKS_PER_OWNER {
            table.bind(&format!("t{n}"), principal("a"), Arc::from("slow"), Some(Duration::from_secs(60))).unwrap();
        }
        table.renew("t0", Some(Duration::from_secs(600)));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(bind(&table, "more", &principal("a")), Ok(()));
        assert!(table.tool_of("t0", Some(&principal("a"))).is_some(), "its handler gave it more time");
        assert!(table.tool_of("t1", Some(&principal("a"))).is_none());
    }
}
