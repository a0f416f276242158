//! `onnxfit distill`: a student learns from a teacher.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use onnxfit::{DistillOptions, Model, TeacherPlace};

use super::train::{Learning, parse_pair};
use crate::arguments::{ModelArguments, SessionArguments, request};
use crate::progress::Bar;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The teacher, an ONNX file; one that `quantize` or `convert` wrote teaches faster
    teacher: PathBuf,
    #[command(flatten)]
    student: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    #[command(flatten)]
    learning: Learning,
    /// Softens the answers of both
    #[arg(long, value_name = "T", default_value_t = 2.0)]
    temperature: f64,
    /// How much the teacher counts; what is left is for the labels
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    share: f64,
    /// Values of the teacher and of the student that are to become alike; where their widths differ, through a projection that is trained with the student and left out in the end
    #[arg(long, value_name = "TEACHER=STUDENT", value_parser = parse_pair)]
    feature: Vec<(String, String)>,
    /// How much each pair of features counts
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    feature_weight: f64,
    /// The teacher's output; its first unless given
    #[arg(long, value_name = "NAME")]
    teacher_value: Option<String>,
    /// The teacher computes in half precision
    #[arg(long)]
    teacher_fp16: bool,
    /// Where the teacher is: its answers on the disk, or in the student's graph
    #[arg(long, value_enum, default_value_t = PlaceArgument::Auto)]
    teacher_in: PlaceArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PlaceArgument {
    /// The disk if there is more than one epoch
    Auto,
    Disk,
    Beside,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.student, &arguments.session)?;
    let (teacher, student) = (Model::open(&arguments.teacher)?, Model::open(&arguments.student.model)?);
    let options = DistillOptions {
        temperature: arguments.temperature,
        share: arguments.share,
        features: arguments.feature.clone(),
        feature_weight: arguments.feature_weight,
        teacher_value: arguments.teacher_value.clone(),
        is_half: arguments.teacher_fp16,
        place: match arguments.teacher_in {
            PlaceArgument::Auto => TeacherPlace::Auto,
            PlaceArgument::Disk => TeacherPlace::Disk,
            PlaceArgument::Beside => TeacherPlace::Beside,
        },
        ..DistillOptions::new(arguments.learning.options()?)
    };
    let bar = Bar::new();
    let view = onnxfit::distill(&teacher, &student, &request, &options, &bar)?;
    drop(bar);
    arguments.learning.answer(&view)
}
