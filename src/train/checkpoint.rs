//! What a training run needs to go on after it was stopped.

use super::trainer::Within;
use super::{LossScale, TrainConfig, Trainer};
use crate::{Error, Result, Tensor, io, models::file::to_blob, models::file::to_tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Serialize, Deserialize)]
struct Header {
    epoch: usize,
    steps: usize,
    #[serde(default)]
    within: Within,
    #[serde(default)]
    best: Option<f64>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    scale: Option<LossScale>, // files of earlier versions have none
    config: TrainConfig,
}

const HEADER: &str = "espalier.training";

impl Trainer<'_> {
    /// Every tensor of the run, by its name in the file.
    fn tensors(&mut self) -> impl Iterator<Item = (String, &mut Tensor)> {
        let (params, optimizer) = (self.model.params_mut(), &mut self.optimizer);
        let moments = [("param", params), ("m", &mut optimizer.m), ("v", &mut optimizer.v)];
        let parts = moments.into_iter().chain(self.ema.as_mut().map(|average| ("ema", average)));
        parts.flat_map(|(part, params)| params.iter_mut().map(move |(name, t)| (format!("{part}/{name}"), t)))
    }

    /// Writes parameters, moments, average and settings, atomically.
    pub(super) fn save(&mut self, path: &Path) -> Result<()> {
        let (epoch, steps, within, best) = (self.epoch, self.optimizer.steps, self.within, self.best);
        let (data, scale, config) = (self.data.clone(), Some(self.scale), self.config.clone());
        let header = Header { epoch, steps, within, best, data, scale, config };
        let header = io::to_json(&header, false).map_err(|e| Error::invalid("training settings", "JSON", e))?;
        let tensors = self.tensors().map(|(name, tensor)| Ok((name, to_blob(tensor)?))).collect::<Result<Vec<_>>>()?;
        io::safetensors::write(path, &tensors, &[(HEADER.into(), header)])
    }

    /// Reads what [`Trainer::save`] wrote; the settings must be those of this run.
    pub(super) fn load(&mut self, path: &Path) -> Result<()> {
        let (checkpoint, file) = (io::read(path)?, path.display().to_string());
        let text = checkpoint.metadata.iter().find(|(key, _)| key == HEADER).ok_or("none".to_string());
        let header = text.and_then(|(_, text)| io::from_json(text));
        let header: Header = header.map_err(|found| Error::key(&file, HEADER, "training settings", found))?;
        let as_json = |config| serde_json::to_value(config).unwrap_or_default();
        let (ours, theirs) = (as_json(&self.config), as_json(&header.config));
        let mut settings = ours.as_object().into_iter().flatten();
        if let Some((key, value)) = settings.find(|(key, value)| theirs[key] != **value) {
            return Err(Error::key(&file, key, format!("{value} as in this run"), theirs[key].to_string()));
        }
        for (key, tensor) in self.tensors() {
            let blob = checkpoint.require(&key)?;
            let (expected, found) = (format_args!("{:?}", tensor.shape()), format_args!("{:?}", blob.shape));
            Error::ensure_key(*blob.shape == **tensor.shape(), &file, &key, expected, found)?;
            *tensor = to_tensor(&file, &key, blob)?.to_device(tensor.device())?;
        }
        (self.epoch, self.optimizer.steps, self.data) = (header.epoch, header.steps, header.data);
        (self.within, self.best, self.scale) = (header.within, header.best, header.scale.unwrap_or(self.scale));
        Ok(())
    }
}
