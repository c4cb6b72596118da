"""Fine-tunes: submission, preview, backbone selection and the run."""
