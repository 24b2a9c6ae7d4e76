"""What is shown: tables, figures and pages made from what MLflow holds."""
