//! A screen of characters that plotters draws on.
//!
//! A cell has 2 x 4 dots, in the characters of Braille (Unicode U+2800); a character of
//! a label takes a cell of its own and hides its dots.

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;
use std::fmt;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How strong a faint line is: every other of its dots is drawn.
pub const FAINT: f64 = 0.4;

/// Dots of a cell, across and down.
const ACROSS: usize = 2;
const DOWN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    /// A bit for each dot, as Unicode counts them.
    Dots(u8),
    Letter(char),
}

/// What was drawn.
#[derive(Clone, Debug)]
pub struct Screen {
    columns: usize,
    cells: Vec<Cell>,
}

impl Screen {
    /// An empty one.
    pub fn new(columns: usize, rows: usize) -> Self {
        Screen { columns, cells: vec![Cell::Dots(0); columns * rows] }
    }

    /// Where plotters draws.
    pub fn backend(&mut self) -> Backend<'_> {
        Backend(self)
    }

    fn cell(&mut self, column: i32, row: i32) -> Option<&mut Cell> {
        let (column, row) = (usize::try_from(column).ok()?, usize::try_from(row).ok()?);
        let inside = column < self.columns;
        self.cells.get_mut(row * self.columns + column).filter(|_| inside)
    }

    fn dot(&mut self, x: i32, y: i32) {
        /// Bits of a cell's dots: the fourth row was added later.
        const BITS: [[u8; ACROSS]; DOWN] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (across, down) = (ACROSS as i32, DOWN as i32);
        let bit = BITS[y.rem_euclid(down) as usize][x.rem_euclid(across) as usize];
        if let Some(Cell::Dots(dots)) = self.cell(x.div_euclid(across), y.div_euclid(down)) {
            *dots |= bit;
        }
    }
}

impl fmt::Display for Screen {
    /// Lines without blanks at their ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.cells.chunks(self.columns) {
            let (mut line, mut cells) = (String::new(), row.iter());
            while let Some(cell) = cells.next() {
                line.push(match cell {
                    Cell::Dots(0) => ' ',
                    Cell::Dots(dots) => char::from_u32(0x2800 + u32::from(*dots)).unwrap_or(' '),
                    Cell::Letter(letter) => *letter,
                });
                // A wide letter stands in the next cell too, whatever is there.
                if let Cell::Letter(letter) = cell
                    && letter.width() == Some(2)
                {
                    cells.next();
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The screen as a backend of plotters.
#[derive(Debug)]
pub struct Backend<'a>(&'a mut Screen);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Backend<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let rows = self.0.cells.len() / self.0.columns;
        ((self.0.columns * ACROSS) as u32, (rows * DOWN) as u32)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): (i32, i32), color: BackendColor) -> Drawn {
        if color.alpha > FAINT || color.alpha > 0.0 && (x + y) % 2 == 0 {
            self.0.dot(x, y);
        }
        Ok(())
    }

    /// The ground of a legend or of a label: what is behind stays.
    fn draw_rect<S: BackendStyle>(&mut self, _: (i32, i32), _: (i32, i32), _: &S, _: bool) -> Drawn {
        Ok(())
    }

    /// Lines of any width are one dot wide.
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = (i32, i32)>>(&mut self, path: I, style: &S) -> Drawn {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        let mut from = None;
        for to in path {
            self.draw_line(from.unwrap_or(to), to, &style.color())?;
            from = Some(to);
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok(((text.width() * ACROSS) as u32, DOWN as u32))
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): (i32, i32)) -> Drawn {
        let length = text.width() as i32;
        let mut column = x.div_euclid(ACROSS as i32)
            - match style.anchor().h_pos {
                HPos::Left => 0,
                HPos::Center => length / 2,
                HPos::Right => length,
            };
        let row = match style.anchor().v_pos {
            VPos::Top | VPos::Center => y.div_euclid(DOWN as i32),
            VPos::Bottom => (y - 1).div_euclid(DOWN as i32),
        };
        for letter in text.chars() {
            // What stands on another letter, as an accent, has no cell of its own.
            let Some(width @ 1..) = letter.width() else { continue };
            // One that half of would be beyond the edge is left out.
            let fits = self.0.cell(column + width as i32 - 1, row).is_some();
            if let Some(cell) = self.0.cell(column, row).filter(|_| fits) {
                *cell = Cell::Letter(letter);
            }
            column += width as i32;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_letters_share_a_screen_and_stay_on_it() {
        let mut screen = Screen::new(4, 2);
        for (x, y) in [(0, 0), (1, 3), (7, 7), (-1, 0), (8, 0), (0, 8), (0, -1)] {
            screen.dot(x, y);
        }
        *screen.cell(1, 1).unwrap() = Cell::Letter('a');
        screen.dot(2, 4);
        assert_eq!(screen.to_string(), "\u{2881}\n a \u{2880}\n");
    }

    #[test]
    fn a_wide_letter_takes_two_columns_and_an_accent_none() {
        use plotters::style::text_anchor::Pos;
        use plotters::style::{IntoFont, IntoTextStyle};
        let mut screen = Screen::new(8, 1);
        let style = "monospace".into_font().into_text_style(&(16, 4));
        for (text, at, expected) in [
            ("\u{8a08}\u{6e2c}a", HPos::Left, "\u{8a08}\u{6e2c}a"),
            ("\u{8a08}\u{6e2c}a", HPos::Right, "   \u{8a08}\u{6e2c}a"),
            ("e\u{301}b", HPos::Left, "eb"),
            ("123456\u{8a08}", HPos::Left, "123456\u{8a08}"),
            ("1234567\u{8a08}", HPos::Left, "1234567"),
        ] {
            screen.cells.fill(Cell::Dots(0));
            let x = if matches!(at, HPos::Left) { 0 } else { 16 };
            let style = style.pos(Pos::new(at, VPos::Top));
            screen.backend().draw_text(text, &style, (x, 0)).unwrap();
            assert_eq!(screen.to_string().trim_end_matches('\n'), expected, "{text}");
        }
    }
}
