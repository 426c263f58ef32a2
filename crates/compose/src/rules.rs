//! Rules by place: `services.*.ports` is the ports of every service, `services.*.ports.*` each of
//! them. A walk over a tree takes the rules along instead of building the names of places.

/// What holds at a place, and below it.
pub(crate) struct Rules<T> {
    pub rule: Option<T>,
    children: Vec<(&'static str, Rules<T>)>,
}

impl<T: Copy> Rules<T> {
    pub fn new(all: impl IntoIterator<Item = (&'static str, T)>) -> Self {
        let mut root = Self { rule: None, children: Vec::new() };
        for (place, rule) in all {
            let mut at = &mut root;
            for step in place.split('.') {
                at = at.child_mut(step);
            }
            at.rule = Some(rule);
        }
        root
    }

    fn child_mut(&mut self, step: &'static str) -> &mut Self {
        let index = self.children.iter().position(|(known, _)| *known == step).unwrap_or_else(|| {
            self.children.push((step, Self { rule: None, children: Vec::new() }));
            self.children.len() - 1
        });
        &mut self.children[index].1
    }

    /// What holds below `key`; the rules for any key count where none are for this one.
    pub fn child(&self, key: &str) -> Option<&Self> {
        let named = |wanted: &str| self.children.iter().find(|(step, _)| *step == wanted);
        named(key).or_else(|| named("*")).map(|(_, rules)| rules)
    }

    /// What holds for items of a list.
    pub fn item(&self) -> Option<&Self> {
        self.children.iter().find(|(step, _)| *step == "*").map(|(_, rules)| rules)
    }
}
