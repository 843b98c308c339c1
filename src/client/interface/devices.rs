//! The picker of sound devices: which there are, which are in use, how loud the microphone is. Pure.
//!
//! It does what `/input`, `/output` and `/tone` do; the level comes with the figures, which are asked for more
//! often while it is open.

use crate::client::event::DeviceKind;
use crate::client::voice::{DeviceList, DeviceName};

/// What is to be shown in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickerRow<'a> {
    /// What stands over devices of one kind.
    Heading(DeviceKind),
    /// A device, and whether it is the chosen one.
    Device(&'a DeviceName, bool),
    /// There is none of this kind.
    None,
}

/// The picker.
#[derive(Debug, Clone, PartialEq)]
pub struct Picker {
    list: DeviceList,
    chosen: usize,
}

impl Picker {
    /// A picker that shows this list, with the microphone in use chosen.
    #[must_use]
    pub fn new(list: DeviceList) -> Self {
        let chosen = list.inputs.iter().position(|device| device.used).unwrap_or(0);
        Self { list, chosen }
    }

    /// The same with a newer list; what was chosen still is, if it is there.
    #[must_use]
    pub fn renewed(&self, list: DeviceList) -> Self {
        let before = self.chosen().map(|(kind, device)| (kind, device.name.clone()));
        let mut next = Self { list, chosen: 0 };
        let all = next.list.inputs.len() + next.list.outputs.len();
        let same = (0..all)
            .find(|at| next.at(*at).map(|(kind, device)| (kind, device.name.clone())) == before);
        next.chosen = same.unwrap_or(self.chosen).min(all.saturating_sub(1));
        next
    }

    fn at(&self, at: usize) -> Option<(DeviceKind, &DeviceName)> {
        let inputs = self.list.inputs.len();
        let input = self.list.inputs.get(at).map(|device| (DeviceKind::Input, device));
        input.or_else(|| {
            let device = self.list.outputs.get(at.checked_sub(inputs)?)?;
            Some((DeviceKind::Output, device))
        })
    }

    /// The chosen device.
    #[must_use]
    pub fn chosen(&self) -> Option<(DeviceKind, &DeviceName)> {
        self.at(self.chosen)
    }

    /// Chooses the device so many further, round the end.
    pub fn step(&mut self, by: isize) {
        let all = self.list.inputs.len() + self.list.outputs.len();
        let count = isize::try_from(all.max(1)).unwrap_or(1);
        let at = isize::try_from(self.chosen).unwrap_or(0);
        self.chosen = usize::try_from((at + by).rem_euclid(count)).unwrap_or(0);
    }

    /// What is to be shown, and which row the choice is in.
    #[must_use]
    pub fn rows(&self) -> (Vec<PickerRow<'_>>, usize) {
        let mut rows = Vec::new();
        let (mut chosen, mut before) = (0, 0);
        for (kind, devices) in
            [(DeviceKind::Input, &self.list.inputs), (DeviceKind::Output, &self.list.outputs)]
        {
            rows.push(PickerRow::Heading(kind));
            if devices.is_empty() {
                rows.push(PickerRow::None);
            }
            for (k, device) in devices.iter().enumerate() {
                let is_chosen = before + k == self.chosen;
                if is_chosen {
                    chosen = rows.len();
                }
                rows.push(PickerRow::Device(device, is_chosen));
            }
            before += devices.len();
        }
        (rows, chosen)
    }

    /// Level of the microphone as the list told it, in dBFS.
    #[must_use]
    pub fn level_db(&self) -> f32 {
        self.list.input_level_db
    }

    /// What sound comes from or goes to, where it is none of the list: a file, or nothing.
    #[must_use]
    pub fn beside(&self, kind: DeviceKind) -> Option<&str> {
        let (devices, open) = match kind {
            DeviceKind::Input => (&self.list.inputs, &self.list.input),
            DeviceKind::Output => (&self.list.outputs, &self.list.output),
        };
        let listed = devices.iter().any(|device| device.used);
        (!listed && !open.is_empty()).then_some(open.as_str())
    }
}
