"""Stages run on machines of others: SageMaker and Ray behind one small interface."""
