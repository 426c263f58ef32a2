//! Aligned tables that stay readable on a narrow terminal: less important columns go first, then
//! the longest text is cut.

use super::screen::{Hue, Paint};
use console::text::cut;

/// Between two columns.
const GAP: usize = 2;
/// A cut column keeps at least so much.
const CUT_MIN: usize = 12;
/// A column that may go stays while so much of it can be shown.
const CUT_KEEPS: usize = 16;

/// One column's title and how long it stays: 0 for ever, else the highest goes first.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub title: &'static str,
    pub rank: u8,
    pub right: bool,
}

#[derive(Debug, Clone)]
pub struct Cell {
    pub text: String,
    pub hue: Option<Hue>,
}

#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell { text: super::screen::safe(&text.into()).replace('\n', " "), hue: None }
    }
}

impl Cell {
    pub fn hue(mut self, hue: Hue) -> Self {
        self.hue = Some(hue);
        self
    }
}

impl Column {
    pub const fn kept(title: &'static str) -> Self {
        Self { title, rank: 0, right: false }
    }
    pub const fn rank(title: &'static str, rank: u8) -> Self {
        Self { title, rank, right: false }
    }
    pub const fn right(mut self) -> Self {
        self.right = true;
        self
    }
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The whole table, a line feed after each row.
    pub fn render(&self, width: Option<usize>, paint: Paint) -> String {
        let (shown, widths) = self.fit(width);
        let mut text = String::new();
        let titles = shown.iter().map(|c| Cell::from(self.columns[*c].title).hue(Hue::Quiet));
        self.line(&mut text, titles.collect(), &shown, &widths, paint);
        for row in &self.rows {
            self.line(&mut text, shown.iter().map(|c| row[*c].clone()).collect(), &shown, &widths, paint);
        }
        text
    }

    /// Which columns are shown, and how wide.
    fn fit(&self, width: Option<usize>) -> (Vec<usize>, Vec<usize>) {
        let mut shown: Vec<usize> = (0..self.columns.len()).filter(|c| !self.is_empty(*c)).collect();
        let wide = |shown: &[usize]| shown.iter().map(|c| self.natural(*c)).collect::<Vec<_>>();
        let mut widths = wide(&shown);
        let Some(width) = width else { return (shown, widths) };
        while total(&widths) > width {
            let Some(place) = (0..shown.len()).max_by_key(|p| (self.columns[shown[*p]].rank, *p)) else {
                break;
            };
            if self.columns[shown[place]].rank == 0 {
                break;
            }
            let excess = total(&widths) - width;
            if widths[place] >= excess + CUT_KEEPS {
                widths[place] -= excess;
                break;
            }
            shown.remove(place);
            widths = wide(&shown);
        }
        while total(&widths) > width {
            let Some(widest) = widths.iter_mut().max().filter(|w| **w > CUT_MIN) else { break };
            *widest -= 1;
        }
        (shown, widths)
    }

    /// A column where no row says anything is left out, unless it always stays.
    fn is_empty(&self, column: usize) -> bool {
        self.columns[column].rank > 0 && self.rows.iter().all(|row| row[column].text.is_empty())
    }

    fn natural(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| length(&row[column].text));
        cells.chain([length(self.columns[column].title)]).max().unwrap_or_default()
    }

    fn line(&self, text: &mut String, cells: Vec<Cell>, shown: &[usize], widths: &[usize], paint: Paint) {
        let mut line = String::new();
        for (place, cell) in cells.iter().enumerate() {
            let content = cut(&cell.text, widths[place]);
            let room = " ".repeat(widths[place] - length(&content));
            let painted = cell.hue.map_or_else(|| content.to_string(), |hue| paint.on(hue, &content));
            let right = self.columns[shown[place]].right;
            line.push_str(&" ".repeat(if place > 0 { GAP } else { 0 }));
            line.push_str(&if right { room + &painted } else { painted + &room });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = vec![
            Column::kept("SERVICE"),
            Column::kept("READY").right(),
            Column::kept("CONDITION"),
            Column::rank("PORTS", 1),
            Column::rank("IMAGE", 2),
            Column::rank("EMPTY", 3),
        ];
        let mut table = Table::new(columns);
        table.row(["web", "2/2", "2 of 2 ready", "8080", "guestbook/web", ""].map(Cell::from).into());
        let long = "restarts in 3 s: exited with code 1";
        table.row(["database", "0/12", long, "", "postgres 15", ""].map(Cell::from).into());
        table
    }

    #[test]
    fn all_columns_where_there_is_room() {
        insta::assert_snapshot!(table().render(None, Paint(false)), @"
        SERVICE   READY  CONDITION                            PORTS  IMAGE
        web         2/2  2 of 2 ready                         8080   guestbook/web
        database   0/12  restarts in 3 s: exited with code 1         postgres 15
        ");
    }

    #[test]
    fn a_narrow_terminal_sees_what_matters() {
        insta::assert_snapshot!(table().render(Some(60), Paint(false)), @"
        SERVICE   READY  CONDITION                            PORTS
        web         2/2  2 of 2 ready                         8080
        database   0/12  restarts in 3 s: exited with code 1
        ");
        insta::assert_snapshot!(table().render(Some(34), Paint(false)), @"
        SERVICE   READY  CONDITION
        web         2/2  2 of 2 ready
        database   0/12  restarts in 3 s:…
        ");
        for line in table().render(Some(34), Paint(false)).lines() {
            assert!(line.chars().count() <= 34, "{line}");
        }
    }

    #[test]
    fn cells_cannot_break_a_row() {
        let mut table = Table::new(vec![Column::kept("A")]);
        table.row(vec!["one\ntwo\u{1b}[2J".into()]);
        assert_eq!(table.render(None, Paint(true)), "\u{1b}[2mA\u{1b}[0m\none two\n".to_owned());
    }
}
