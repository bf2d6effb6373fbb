//! Integer formulas as cases write them: `(7x+13y+50c+3*((x*y) mod 31)) mod 256`.

/// The value of `text` with the given variables; `7x` is a product, `mod` binds like `*`.
pub fn formula(text: &str, variables: &[(char, i64)]) -> Result<i64, String> {
    let compact: String = text.replace("mod", "%").chars().filter(|c| !c.is_whitespace()).collect();
    let mut parser = Parser { rest: &compact, variables };
    let value = parser.sum()?;
    if parser.rest.is_empty() { Ok(value) } else { Err(format!("{text}: {:?} is not understood", parser.rest)) }
}

struct Parser<'a> {
    rest: &'a str,
    variables: &'a [(char, i64)],
}

impl Parser<'_> {
    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sum(&mut self) -> Result<i64, String> {
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value += self.product()?;
            } else if self.take('-') {
                value -= self.product()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut value = self.atom()?;
        loop {
            if self.take('*') {
                value *= self.atom()?;
            } else if self.take('%') {
                value = value.checked_rem_euclid(self.atom()?).ok_or("mod 0")?;
            } else if self.rest.starts_with(|c: char| c == '(' || c.is_ascii_alphanumeric()) {
                value *= self.atom()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn atom(&mut self) -> Result<i64, String> {
        if self.take('(') {
            let value = self.sum()?;
            return if self.take(')') { Ok(value) } else { Err("a bracket stays open".into()) };
        }
        for &(name, value) in self.variables {
            if self.take(name) {
                return Ok(value);
            }
        }
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().map_err(|_| format!("a number is missing before {rest:?}"))
    }
}
