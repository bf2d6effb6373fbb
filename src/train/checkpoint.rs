//! What a training run needs to go on after it was stopped.

use super::TrainConfig;
use crate::io;
use crate::models::file::{to_blob, to_tensor};
use crate::nn::Params;
use crate::optim::{AdamW, Ema};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where a run stands: parameters are in the model, the rest is here.
pub struct State {
    /// The optimiser with its moments.
    pub optimizer: AdamW,
    /// The moving average, when the run keeps one.
    pub ema: Option<Ema>,
    /// Epochs done.
    pub epoch: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    stage: String,
    epoch: usize,
    steps: usize,
    config: TrainConfig,
}

const HEADER: &str = "espalier.training";

impl State {
    /// Writes parameters, moments, average and settings, atomically.
    pub fn save(&self, path: &Path, params: &Params, config: &TrainConfig) -> Result<()> {
        let steps = self.optimizer.steps;
        let header = Header { stage: config.stage.clone(), epoch: self.epoch, steps, config: config.clone() };
        let text = serde_json::to_string(&header).map_err(|e| Error::invalid("training settings", "JSON", e))?;
        let mut tensors = Vec::new();
        let parts = [("param", Some(params)), ("m", Some(&self.optimizer.m)), ("v", Some(&self.optimizer.v))];
        for (prefix, part) in parts.into_iter().chain([("ema", self.ema.as_ref().map(|ema| &ema.params))]) {
            for (name, tensor) in part.into_iter().flat_map(Params::iter) {
                tensors.push((format!("{prefix}/{name}"), to_blob(tensor)?));
            }
        }
        io::safetensors::write(path, &tensors, &[(HEADER.into(), text)])
    }

    /// Reads what [`State::save`] wrote into `params` and this state; the settings must be those of `config`.
    pub fn load(&mut self, path: &Path, params: &mut Params, config: &TrainConfig) -> Result<()> {
        let checkpoint = io::read(path)?;
        let file = path.display().to_string();
        let bad = |key: &str, expected: &str, found: String| Error::Key {
            file: file.clone(),
            key: key.into(),
            expected: expected.into(),
            found,
        };
        let text = checkpoint.metadata.iter().find(|(key, _)| key == HEADER).map(|(_, text)| text.as_str());
        let text = text.ok_or_else(|| bad(HEADER, "training settings", "none".into()))?;
        let header: Header = serde_json::from_str(text).map_err(|e| bad(HEADER, "training settings", e.to_string()))?;
        if header.config != *config {
            let [ours, theirs] = [config, &header.config].map(|c| serde_json::to_value(c).unwrap_or_default());
            let keys = ours.as_object().into_iter().flatten();
            let (key, value) = keys.clone().find(|(key, value)| theirs[key.as_str()] != **value).unzip();
            let found = format!("{}", theirs[key.map_or("", String::as_str)]);
            return Err(bad(
                key.map_or(HEADER, String::as_str),
                &format!("{} as in this run", value.unwrap_or_default()),
                found,
            ));
        }
        let mut parts = vec![("param", params), ("m", &mut self.optimizer.m), ("v", &mut self.optimizer.v)];
        parts.extend(self.ema.as_mut().map(|ema| ("ema", &mut ema.params)));
        for (prefix, part) in parts {
            for (name, tensor) in part.iter_mut() {
                let key = format!("{prefix}/{name}");
                let blob = checkpoint.require(&key)?;
                if *blob.shape != **tensor.shape() {
                    return Err(bad(&key, &format!("{:?}", tensor.shape()), format!("{:?}", blob.shape)));
                }
                *tensor = to_tensor(&file, &key, blob)?;
            }
        }
        (self.epoch, self.optimizer.steps) = (header.epoch, header.steps);
        Ok(())
    }
}
