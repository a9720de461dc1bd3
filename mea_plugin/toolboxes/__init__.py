"""What must be known of BasicSR and MMagic to use their networks. Importing it registers nothing."""
