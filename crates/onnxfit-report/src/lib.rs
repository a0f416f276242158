//! Views: terminal text, JSON, HTML
