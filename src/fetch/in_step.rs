//! Whether messages came in their own places.
//!
//! Only the order of replies says which command each of them answers. A server that loses one of several RETR sent ahead,
//! and answers the others, makes each later message come in the place of an earlier one; a message with a forged reply in
//! it, from a server that does not stuff dots, makes each later one come too late. The announced sizes show that, as far as
//! they can be relied on: servers count a line end as one octet or two, add or leave out a header, or estimate. So one size
//! that does not fit proves nothing, two that fit other messages at the same distance prove a shift, and a size that fits,
//! and that no message behind it has as well, proves all places before it.

use crate::pop3::{Size, Wanted, Window};

/// After so many sizes in a row that do not fit, sizes tell nothing: enough for a message that is cut, three replies that
/// it forges, and two that tell. The messages wait until then, each an open file.
pub const MOST: usize = 6;

/// What a session knows of the places of its messages.
pub struct Places<'w> {
    wanted: &'w [Wanted],
    /// How the server counts: which of the two sizes, and by how many octets it is off. Unknown until two messages agree.
    counting: Option<(usize, i128)>,
    /// The differences of the last message, while that is unknown, unless it may be another one.
    last: Option<[i128; 2]>,
    /// Sizes do not tell.
    is_silent: bool,
    /// For each reply, whether a message came whose size fits.
    fits: Vec<bool>,
    /// For each reply, the size of the message that came.
    sizes: Vec<Option<Size>>,
}

/// A message, by its position among those wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    pub position: usize,
    pub size: Size,
    /// Its size is that of its place.
    pub fits: bool,
    /// How many messages had been asked for by then.
    asked: usize,
}

impl Came {
    /// At which distances there are messages that may have come in its place: behind it all that had been asked for, before
    /// it a few, for whoever forges replies in a message needs few.
    fn distances(&self) -> impl Iterator<Item = i128> + use<> {
        let behind = self.asked.saturating_sub(self.position + 1) as i128;
        (1..=behind).chain([-1, -2, -3])
    }
}

impl<'w> Places<'w> {
    pub fn new(wanted: &'w [Wanted]) -> Self {
        let (fits, sizes) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        Places { wanted, counting: None, last: None, is_silent: false, fits, sizes }
    }

    /// The server refused the next message.
    pub fn refused(&mut self) {
        self.fits.push(false);
        self.sizes.push(None);
    }

    /// The next message came, when so many had been asked for.
    pub fn came(&mut self, size: Size, asked: usize) -> Came {
        let came = Came { position: self.fits.len(), size, fits: false, asked };
        let fits = self.is_fit(&came);
        self.fits.push(fits);
        self.sizes.push(Some(size));
        Came { fits, ..came }
    }

    /// True when there was a reply for each of them.
    pub fn are_full(&self) -> bool {
        self.fits.len() == self.wanted.len()
    }

    fn is_fit(&mut self, came: &Came) -> bool {
        if self.counting.is_none() && !self.is_silent {
            self.learn(came);
        }
        self.counting.is_some() && self.is_of(came, 0)
    }

    /// Finds out how the server counts: exactly, or twice off by as much.
    fn learn(&mut self, came: &Came) {
        let Some(differences) = self.differences(came.position, came.size) else { return };
        let agreeing = |others: [i128; 2]| (0..2).find(|which| differences[*which] == others[*which]);
        let exact = agreeing([0; 2]);
        let last = self.last.take();
        if exact.is_none() && came.distances().any(|distance| self.is_of(came, distance)) {
            return;
        }
        self.last = Some(differences);
        let which = exact.or_else(|| agreeing(last?));
        self.counting = which.map(|which| (which, differences[which]));
    }

    /// What came less what was announced, with line ends of two octets and of one; `None` where nothing was announced.
    fn differences(&self, position: usize, size: Size) -> Option<[i128; 2]> {
        let announced = self.wanted.get(position).map(|wanted| wanted.octets).filter(|octets| *octets > 0)?;
        Some([size.octets, size.at_home].map(|octets| i128::from(octets) - i128::from(announced)))
    }

    /// True when the size of a message that does not fit is a reason for doubt.
    pub fn tells(&self, came: &Came) -> bool {
        !self.is_silent && self.wanted[came.position].octets > 0
    }

    /// True when the size of a message fits its place, by what is known now of how the server counts.
    pub fn is_in_place(&self, came: &Came) -> bool {
        self.is_of(came, 0)
    }

    /// True when the size fits the message at this distance.
    fn is_of(&self, came: &Came, distance: i128) -> bool {
        let Some(position) = usize::try_from(came.position as i128 + distance).ok() else { return false };
        let Some(differences) = self.differences(position, came.size) else { return false };
        match self.counting {
            Some((which, off)) => differences[which] == off,
            None => differences.contains(&0),
        }
    }

    /// By how many places the last two messages came too early, or, with a negative number, too late.
    pub fn shift(&self, before: &Came, last: &Came) -> Option<i128> {
        let both = |distance: &i128| self.is_of(before, *distance) && self.is_of(last, *distance);
        let are_in_place = self.is_of(before, 0) || self.is_of(last, 0);
        last.distances().find(both).filter(|_| !are_in_place)
    }

    /// Sizes do not tell in this session.
    pub fn give_up(&mut self) {
        self.is_silent = true;
    }

    /// True when the last message that came proves its place, and with it all others.
    pub fn is_proved(&self) -> bool {
        self.fits.last().copied().unwrap_or(true)
    }

    /// True when the size of a message that fits is not that of one behind it as well, which may have come instead.
    pub fn is_alone(&self, position: usize) -> bool {
        let behind = self.wanted.iter().skip(position + 1).take(Window::default().messages);
        behind.into_iter().all(|other| other.octets != self.wanted[position].octets)
    }

    /// Of the first so many messages, those whose size does not fit, when the sizes of most do: they may be cut short, or be
    /// the rest of another one.
    pub fn misfits(&self, first: usize) -> Vec<&'w Wanted> {
        let Some((which, off)) = self.counting else { return vec![] };
        let came = self.sizes.iter().enumerate().take(first).filter_map(|(position, size)| Some((position, (*size)?)));
        let differences = came.filter_map(|(position, size)| Some((position, self.differences(position, size)?)));
        let (fit, misfits): (Vec<_>, Vec<_>) = differences.partition(|(_, differences)| differences[which] == off);
        if fit.len() <= misfits.len() {
            return vec![];
        }
        misfits.into_iter().map(|(position, _)| &self.wanted[position]).collect()
    }

    /// Of the first so many messages, those whose place nothing proves, in a session that ended too early.
    pub fn unproved(&self, first: usize) -> &'w [Wanted] {
        let proof =
            (0..first.min(self.fits.len())).rev().find(|position| self.fits[*position] && self.is_alone(*position));
        &self.wanted[proof.map_or(0, |position| position + 1)..first.min(self.fits.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildrop::MessageNumber;

    fn wanted(octets: &[u64]) -> Vec<Wanted> {
        octets
            .iter()
            .zip(1..)
            .map(|(octets, number)| Wanted { number: MessageNumber(number), octets: *octets })
            .collect()
    }

    /// Ten octets for each line.
    fn size(octets: u64) -> Size {
        Size { octets, at_home: octets - octets / 10 }
    }

    fn all_fit(places: &mut Places<'_>, sizes: &[Size]) -> Vec<bool> {
        sizes.iter().map(|size| places.came(*size, 6).fits).collect()
    }

    #[test]
    fn sizes_fit_however_the_server_counts_as_long_as_it_counts_alike() {
        let real = [520, 1000, 730];
        for (announced, expected) in [
            ([520, 1000, 730], [true; 3]),
            (real.map(|octets| size(octets).at_home), [true; 3]),
            (real.map(|octets| octets + 57), [false, true, true]),
            (real.map(|octets| size(octets).at_home - 9), [false, true, true]),
            ([520, 990, 730], [true, false, true]),
            ([1, 2, 3], [false; 3]),
            ([0, 1000, 0], [false, true, false]),
        ] {
            let wanted = wanted(&announced);
            assert_eq!(all_fit(&mut Places::new(&wanted), &real.map(size)), expected, "{announced:?}");
        }
    }

    #[test]
    fn two_that_fit_others_at_one_distance_are_a_shift() {
        // As good as a server that is off by a hundred.
        let wanted = wanted(&[500, 600, 700, 800, 900, 1000]);
        for (lost, early) in [(1, 1), (0, 1), (2, 2), (0, 3)] {
            let mut places = Places::new(&wanted);
            (0..lost).for_each(|position| assert!(places.came(size(wanted[position].octets), 6).fits));
            let [one, two] = [0, 1].map(|at| places.came(size(wanted[lost + early + at].octets), 6));
            assert!(!one.fits && !two.fits && places.tells(&one) && places.tells(&two));
            assert_eq!(places.shift(&one, &two), Some(early as i128), "{lost} {early}");
            let asked = two.position + 1;
            assert_eq!(places.shift(&one, &Came { asked, ..two }), None, "the others were not asked for");
        }
        let mut late = Places::new(&wanted);
        let [_, _, one, two] = [500, 100, 600, 700].map(|octets| late.came(size(octets), 6));
        assert_eq!(late.shift(&one, &two), Some(-1));
        let mut at_once = Places::new(&wanted);
        let [_, _, one, two] = [100, 90, 500, 600].map(|octets| at_once.came(size(octets), 6));
        assert_eq!(at_once.shift(&one, &two), Some(-2));
    }

    #[test]
    fn a_size_that_fits_and_is_no_others_proves_what_came_before() {
        let wanted = wanted(&[500, 600, 600, 600, 800, 900]);
        let mut places = Places::new(&wanted);
        for octets in [500, 600, 600, 600, 777] {
            places.came(size(octets), 6);
        }
        assert_eq!(places.unproved(5), &wanted[4..5]);
        assert_eq!(places.unproved(4), &[], "600 that no 600 follows");
        assert_eq!(places.unproved(3), &wanted[1..3]);
        assert_eq!(Places::new(&wanted).unproved(6), &[]);
        let misfits: Vec<_> = places.misfits(5).iter().map(|wanted| wanted.number.0).collect();
        assert_eq!(misfits, [5]);
        assert_eq!(places.misfits(4), [] as [&Wanted; 0]);
    }
}
